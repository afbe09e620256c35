"""Cleaning: what goes is counted and kept with its reason, the split is a function of the text."""

from moxin_recipes.data import local_text
from moxin_recipes.data.cleaning import Cleaner


def document(text: object, source: str = "web") -> dict[str, object]:
    return {"text": text, "source": source, "license": "x", "origin": "y"}


def test_reasons_and_counts() -> None:
    cleaner = Cleaner()
    raw = [
        document("a good document\r\nof two lines"),
        document("a good document\nof two lines", "books"),
        document("short"),
        document(None),
        document("bad \ud800 surrogate, long enough"),
        document("cafe\u0301 is composed here"),
    ]
    kept = list(cleaner.clean(raw, min_characters=10, heldout_fraction=0.0))
    assert [d["text"] for d in kept] == ["a good document\nof two lines", "café is composed here"]
    assert [d["reason"] for d in cleaner.removed] == [
        "duplicate",
        "short",
        "no text",
        "invalid unicode",
    ]
    assert cleaner.counts["books/duplicate"] == 1
    assert sum(cleaner.counts.values()) == len(raw)


def test_the_split_is_a_function_of_the_text() -> None:
    texts = [f"document number {i}" for i in range(2000)]
    first = list(Cleaner().clean(map(document, texts), 1, 0.1))
    second = list(Cleaner().clean(map(document, reversed(texts)), 1, 0.1))
    split = {d["text"]: d["split"] for d in first}
    assert split == {d["text"]: d["split"] for d in second}
    held = sum(value == "heldout" for value in split.values())
    assert 150 < held < 250


def test_a_module_and_its_docstrings_are_on_the_same_side() -> None:
    cleaner = Cleaner()
    code, docstrings = (
        {d["origin"]: d["split"] for d in cleaner.clean(read(), 1, 0.05)}
        for read in (local_text.stdlib_code, local_text.stdlib_docstrings)
    )
    both = set(code) & set(docstrings)
    assert len(both) > 100
    assert {code[origin] for origin in both} == {"train", "heldout"}
    assert all(code[origin] == docstrings[origin] for origin in both)

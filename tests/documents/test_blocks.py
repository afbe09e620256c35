"""Blocks by themselves: what goes is kept with its reason, what cannot be read is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig

from moxin_recipes.documents import contamination, local_text
from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.contamination import Item
from moxin_recipes.documents.dedup.bloom import BloomDedup
from moxin_recipes.documents.dedup.minhash import Signature
from moxin_recipes.documents.filters.lines import Lines
from moxin_recipes.documents.filters.short import Short
from moxin_recipes.documents.index import Index
from moxin_recipes.documents.normalize import Normalize
from moxin_recipes.documents.readers import Reader
from moxin_recipes.recipe.keys.data import Source


def document(text: str, **metadata: Any) -> Document:
    return Document(text, "id", metadata={"source": "web", **metadata})


def removed_rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row for file in sorted(folder.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def read(folder: Path, *files: str, **keys: Any) -> tuple[list[Document], list[dict[str, Any]]]:
    """What a reader yields of files, and what it keeps aside."""
    source = vars(Source(name="web", license="MIT", **keys))
    aside = folder / "removed"
    block = Reader(str(folder), list(files), Removed(str(aside), "unreadable"), source)
    return list(block.run()), removed_rows(aside)


def test_what_cannot_be_read_is_kept_aside_and_named(tmp_path: Path) -> None:
    def row(text: Any) -> bytes:
        return json.dumps({"text": text}).encode() + b"\n"

    huge = "a word " * 7_200_000  # 50 MB
    lines = [row("first"), b'{"text": "cut off\n', row(None), b'{"text": "\xff\xfe"}\n', row(huge)]
    (tmp_path / "a.jsonl").write_bytes(b"".join([*lines, row("last")]))
    members = [gzip.compress(row(f"member {n}") * 2000) for n in range(4)]
    damaged = bytearray(members[1])
    damaged[len(damaged) // 2 :] = b"\0" * (len(damaged) - len(damaged) // 2)
    (tmp_path / "b.jsonl.gz").write_bytes(
        members[0] + bytes(damaged) + members[2] + members[3][:-9]
    )
    (tmp_path / "c.parquet").write_bytes(b"PAR1 is not enough")
    kept, aside = read(tmp_path, "a.jsonl", "b.jsonl.gz", "c.parquet")
    texts = [doc.text for doc in kept]
    assert texts[:2] == ["first", "last"]
    assert texts.count("member 0") == texts.count("member 2") == 2000
    assert {doc.metadata["origin"] for doc in kept} >= {"a.jsonl#0", "a.jsonl#5"}
    found = {row["reason"]: row for row in aside}
    assert found["no text"]["origin"] == "a.jsonl#2"
    assert found["invalid UTF-8"]["text"] == '{"text": "\\xff\\xfe"}'
    assert found["too long"]["text"] == huge
    assert found["unreadable file"]["origin"] == "c.parquet#0"
    broken = [row["text"] for row in aside if row["reason"] == "broken line"]
    assert broken[0] == '{"text": "cut off'
    members_aside = [row["origin"] for row in aside if row["reason"] == "damaged gzip member"]
    assert members_aside == [
        f"b.jsonl.gz, member at byte {len(members[0])}",
        f"b.jsonl.gz, member at byte {sum(map(len, members[:3]))}",
    ]


def test_zstandard_and_parquet_and_licences_by_row(tmp_path: Path) -> None:
    lines = b"".join(b'{"text": "number %d"}\n' % n for n in range(1000))
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as file:
        file.write(lines)
    whole = (tmp_path / "a.jsonl.zst").read_bytes()
    (tmp_path / "cut.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    rows = [{"content": "x = 1", "licenses": ["MIT", "ISC"]}, {"content": None, "licenses": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    kept, aside = read(tmp_path, "a.jsonl.zst", "cut.jsonl.zst")
    assert len(kept) >= 1000
    assert [doc.text for doc in kept[:1000]] == [f"number {n}" for n in range(1000)]
    assert any("cut.jsonl.zst" in row["origin"] for row in aside)
    kept, aside = read(tmp_path, "b.parquet", text_column="content", license_column="licenses")
    assert [doc.metadata["license"] for doc in kept] == ["MIT, ISC"]
    assert aside[-1]["reason"] == "no text"


def test_normalised_text_has_a_split_by_its_hash() -> None:
    block = Normalize(0.1)
    texts = [f"document number {n}" for n in range(2000)]
    splits = []
    for text in texts:
        doc = document(text)
        assert block.filter(doc) is True
        splits.append(doc.metadata["split"])
    assert 150 < splits.count("heldout") < 250
    composed = document("  cafe\u0301\r\nau lait ")
    assert block.filter(composed) is True
    assert composed.text == "café\nau lait"
    again = document("café\nau lait")
    block.filter(again)
    assert again.id == composed.id
    broken = document("bad \ud800 surrogate")
    assert block.filter(broken) == (False, "invalid unicode")
    assert broken.text == "bad \\ud800 surrogate"


def test_a_module_and_its_docstrings_are_on_the_same_side() -> None:
    splits: list[dict[str, str]] = []
    root = local_text.stdlib_root() / "encodings"
    for made in (local_text.stdlib_code(root), local_text.stdlib_docstrings(root)):
        splits.append({})
        for row in made:
            doc = document(row["text"], group=row["group"])
            Normalize(0.1).filter(doc)
            splits[-1][row["origin"]] = doc.metadata["split"]
    both = set(splits[0]) & set(splits[1])
    assert len(both) > 50
    assert {splits[0][origin] for origin in both} == {"train", "heldout"}
    assert all(splits[0][origin] == splits[1][origin] for origin in both)


def test_the_rule_on_length_counts_neither_punctuation_nor_blanks() -> None:
    block = Short(200)
    assert block.filter(document("ab, cd!\n\t" * 50)) is True  # 4 × 50 = 200
    assert block.filter(document("ab, cd!\n\t" * 49 + "abc" + "." * 9000)) == (False, "short")


def test_lines_of_capitals_digits_and_counters_go() -> None:
    good = "This line has quite enough words to stay, as all others here do, so let it be. " * 8
    bad = "CLICK HERE NOW\n123456\n3 likes\nHome\nread more..."
    doc = document(f"{good}\n{bad}\n\n{good}")
    assert Lines().filter(doc) is True
    assert doc.text == f"{good}\n\n{good}".strip()
    mostly_bad = document(f"{bad}\nOnly this line stays.")
    assert Lines().filter(mostly_bad) == (False, "lines")
    assert mostly_bad.text.startswith("CLICK")  # what goes, goes as it was


def words(rng: np.random.Generator, count: int) -> str:
    """Random words of letters: FineWeb's simplified text has 0 for every number."""
    letters = "abcdefghij"
    numbers = rng.integers(0, 5000, count)
    return " ".join("".join(letters[int(digit)] for digit in str(number)) for number in numbers)


def test_the_bloom_filter_finds_repeated_paragraphs_and_documents(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pages = [[words(rng, 60) for _ in range(5)] for _ in range(200)]
    texts = ["\n".join(page) for page in pages]
    texts.append("\n".join([words(rng, 60), *pages[3][:2], words(rng, 60), words(rng, 60)]))
    texts.append("\n".join([*pages[4][:4], words(rng, 60)]))
    block = BloomDedup(13, 0.8, 100_000, 0.01, Removed(str(tmp_path), "repeated"))
    kept = list(block.run(iter([document(text) for text in texts])))
    assert [doc.text for doc in kept[:200]] == texts[:200]
    assert len(kept[200].text.split("\n")) == 3  # the two repeated ones are gone
    assert len(kept) == 201
    assert [row["text"] for row in removed_rows(tmp_path)] == [texts[201]]


@pytest.mark.parametrize(("characters", "n"), [(False, 5), (True, 13)])
def test_signatures_agree_as_often_as_shingles_do(tmp_path: Path, characters: bool, n: int) -> None:
    rng = np.random.default_rng(1)
    block = Signature(str(tmp_path), MinhashConfig(n, 20, 10), characters)
    first = words(rng, 400)
    second = " ".join([*first.split()[:300], *words(rng, 100).split()])
    shingles = [set(block.get_shingles(text).ravel().tolist()) for text in (first, second)]
    jaccard = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    one, two = (np.array(block.get_signature(block.get_shingles(t))) for t in (first, second))
    assert abs((one == two).mean() - jaccard) < 0.1  # 200 hashes: a standard error of 0.035
    long = block.get_shingles(words(rng, 9_000 if characters else 40_000))
    in_parts = np.array(block.get_signature(long))
    halves = [np.array(block.get_signature(half)) for half in (long[::2], long[1::2])]
    assert (in_parts == np.minimum(*halves)).all()


QUESTION = (
    "A farmer has seventeen sheep and sells all but nine of them at the market in the next "
    "village before noon; how many sheep walk home with him that evening?"
)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    items = [
        Item("quiz", "0", [QUESTION, "nine"]),
        Item("quiz", "1", ["What is the capital of France?", "Paris"]),
        Item("quiz", "2", ["Why so?", "because"]),
        Item("sums", "0", ["Work out 7+5-3+2-4.", "7"], ("whole",)),
    ]
    contamination.write_index(items, tmp_path / "index")
    return Index.load(tmp_path / "index" / "index.npz")


def rules(index: Index, text: str) -> set[str]:
    return {rule for _, rule in index.hits(text)}


def test_items_are_found_by_each_rule_and_nothing_else_is(index: Index, tmp_path: Path) -> None:
    page = "Some text before. {} Some text after it, of no interest."
    parts = QUESTION.split()
    assert rules(index, page.format(QUESTION.upper())) == {"8-gram", "13-gram"}
    assert rules(index, page.format(" ".join(parts[2:16]))) == {"13-gram"}
    in_pieces = " so ".join([" ".join(parts[:9]), " ".join(parts[9:19]), " ".join(parts[19:])])
    assert rules(index, page.format(in_pieces)) == {"8-gram"}
    assert not rules(index, page.format(" ".join(parts[4:14])))  # ten words of thirty
    assert rules(index, "Ask: what is the capital of France") == {"whole"}
    assert rules(index, "Work out 7 + 5 - 3 + 2 - 4") == {"whole"}
    assert not rules(index, "Work out 7-5+3-2+4")
    assert not rules(index, "A man owned sheep; all but nine were sold. How many has he?")
    listed = pq.read_table(tmp_path / "index" / "items.parquet").to_pylist()
    assert [row["looked_for"] for row in listed] == [True, True, False, True]

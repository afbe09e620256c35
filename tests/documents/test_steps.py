"""Steps that stay: what a recipe does not change is not made again, and the result is the same."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.documents.prepare_and_die import written

from moxin_recipes.documents import account, corpus, steps
from moxin_recipes.documents.pipeline import Documents
from moxin_recipes.documents.prepare import first_texts, prepare
from moxin_recipes.hub import pull
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.evaluation_sets import EvaluationSet
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.write import train_tokenizer

WORDS = ["river", "stone", "cloud", "seven", "quiet", "lamp", "north", "paper", "green", "wheel"]


def page(kind: str, number: int) -> str:
    """A page that shares no run of words with another one."""
    words = (f"{kind}{number}{word}{turn}" for turn in range(6) for word in WORDS)
    return " ".join(words)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Repositories as folders: `web`, `books` and `news` with pages, one of them in two of them."""
    for kind in ("web", "books", "news"):
        (tmp_path / kind).mkdir()
        pages = [page(kind, number) for number in range(30)] + [f"{kind} is short"]
        pages += [page("web", 0)] if kind == "news" else []
        lines = "".join(json.dumps({"text": text}) + "\n" for text in pages)
        (tmp_path / kind / "a.jsonl").write_text(lines)
    monkeypatch.setattr(pull, "files", lambda parent: ["a.jsonl"])
    monkeypatch.setattr(pull, "fetch", lambda parent, files: tmp_path / parent.repo)
    return tmp_path


def source(name: str, **more: Any) -> Source:
    return Source(
        name=name, dataset=name, **{"license": "MIT", "heldout_fraction": 0.2, "dedup": [], **more}
    )


def recipe(*of: Source, **more: Any) -> DataKeys:
    return DataKeys(
        stage="data",
        sources=list(of),
        decontaminate=[EvaluationSet(name="heldout", dataset="heldout", rules=["8-gram"])],
        **{"vocab_size": 300, "shard_tokens": 2000, **more},
    )


BASE = recipe(source("web", dedup=["exact"]), source("books"))


def prepared(keys: DataKeys, shelf: Path, folder: Path) -> Documents:
    """The preparation of a recipe, tokens included."""

    def parent(key: str) -> Parent:
        of = keys.sources[int(key.removeprefix("sources[").removesuffix("]"))]
        payload = sha256_file(shelf / of.dataset / "a.jsonl")
        return Parent(key, "dataset", of.dataset, "main", "0" * 40, payload)

    def pulled(key: str, patterns: list[str] | None = None) -> Path:
        raise AssertionError(key)

    documents = prepare(keys, folder / "steps", pulled, parent, None)
    tokenizer = folder / "tokenizer"
    train_tokenizer(first_texts(documents, 9000), keys.vocab_size).save_pretrained(tokenizer)
    for one in keys.sources:
        documents.tokens(one.name, tokenizer, keys.shard_tokens)
    return documents


def ran(documents: Documents) -> set[str]:
    """The steps that this preparation made itself."""
    return {step.name for step in documents.steps if step.made_here}


ALL = {"evaluation-items", "exact"} | {
    f"{step}-{of}" for step in ("clean", "decontaminate", "tokens") for of in ("web", "books")
}
CHANGES: dict[str, tuple[DataKeys, set[str]]] = {
    "nothing": (BASE, set()),
    # A source that shares no deduplication; its held-out pages are looked for in all others, which
    # stay as they were; and the tokenizer learns from it, too.
    "a source": (
        replace(BASE, sources=[*BASE.sources, source("news", heldout_fraction=0.0)]),
        {"clean-news", "decontaminate-news", "tokens-web", "tokens-books", "tokens-news"},
    ),
    "a source that is deduplicated with another": (
        replace(
            BASE, sources=[*BASE.sources, source("news", dedup=["exact"], heldout_fraction=0.0)]
        ),
        {"clean-news", "exact", "decontaminate-news", "tokens-web", "tokens-books", "tokens-news"},
    ),
    "vocab_size": (replace(BASE, vocab_size=320), {"tokens-web", "tokens-books"}),
    "shard_tokens": (replace(BASE, shard_tokens=1000), {"tokens-web", "tokens-books"}),
    # The same documents come out of another filter: nothing after it is made again.
    "a filter": (
        replace(BASE, sources=[BASE.sources[0], source("books", min_characters=150)]),
        {"clean-books"},
    ),
    "an evaluation set": (
        replace(
            BASE,
            decontaminate=[
                *BASE.decontaminate,
                EvaluationSet(name="again", dataset="heldout", rules=["13-gram"]),
            ],
        ),
        {"evaluation-items", "decontaminate-web", "decontaminate-books"},
    ),
    "tasks": (replace(BASE, tasks=2), ALL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_changed_is_made_and_the_result_is_that_of_a_fresh_run(
    shelf: Path, change: str
) -> None:
    keys, expected = CHANGES[change]
    assert ran(prepared(BASE, shelf, shelf / "kept")) == ALL
    again = prepared(keys, shelf, shelf / "kept")
    assert ran(again) == expected
    fresh = prepared(keys, shelf, shelf / "fresh")
    assert written(again) == written(fresh) != {}
    facts = [corpus.write(one, shelf / name) for name, one in (("a", again), ("b", fresh))]
    assert facts[0] == facts[1]


def test_another_text_or_other_code_is_another_step(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(BASE, shelf, shelf / "kept")
    with (shelf / "books" / "a.jsonl").open("a") as file:
        file.write(json.dumps({"text": page("books", 77)}) + "\n")
    changed = ran(prepared(BASE, shelf, shelf / "kept"))
    assert {"clean-books", "tokens-books"} <= changed
    assert not {"clean-web", "exact"} & changed
    monkeypatch.setattr(steps, "_code", lambda: "another version of a filter")
    assert ran(prepared(BASE, shelf, shelf / "kept")) == ALL


@pytest.mark.parametrize("torn", ["no seal", "a file is gone", "a file is cut"])
def test_a_step_that_is_not_whole_is_made_again(shelf: Path, torn: str) -> None:
    before = prepared(BASE, shelf, shelf / "kept")
    whole = written(before)
    (step,) = [step for step in before.steps if step.name == "clean-web"]
    file = before.folder / step.kept("web")[0].path
    if torn == "no seal":
        (step.folder / steps.SEAL).unlink()  # killed between its last task and its seal
    elif torn == "a file is gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    again = prepared(BASE, shelf, shelf / "kept")
    assert ran(again) == {"clean-web"}
    assert written(again) == whole


def test_a_finished_run_keeps_its_own_steps_alone(shelf: Path) -> None:
    prepared(BASE, shelf, shelf / "kept")
    keys, _ = CHANGES["vocab_size"]
    later = prepared(keys, shelf, shelf / "kept")
    assert len(list(later.folder.iterdir())) == len(later.steps) + 2  # the tokens of before
    later.forget_others()
    assert {path.name for path in later.folder.iterdir()} == {s.folder.name for s in later.steps}
    assert ran(prepared(keys, shelf, shelf / "kept")) == set()


LOUD: list[tuple[Callable[[], DataKeys], str, str]] = [
    (
        lambda: recipe(source("web", min_characters=5000), source("books")),
        "`sources[0].min_characters`",
        "31 short",
    ),
    (
        lambda: recipe(source("web", filters=["gopher_quality"])),
        "`sources[0].filters`",
        " gopher_",
    ),
    (
        lambda: recipe(source("web", filters=[], late_filters=["gopher_quality"])),
        "`sources[0].late_filters`",
        " gopher_",
    ),
]


@pytest.mark.parametrize(("make", "key", "reason"), LOUD)
def test_a_source_of_which_nothing_is_left_names_the_filter_and_its_key(
    shelf: Path, make: Callable[[], DataKeys], key: str, reason: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        prepared(make(), shelf, shelf / "kept")
    line = str(caught.value)
    assert line.startswith(f"{key}: nothing of web is left to train on")
    assert reason in line
    assert "\n" not in line


def test_more_than_half_is_said_loudly_with_examples(
    shelf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"a short one, \x1b[31mnumber\n {number}" for number in range(50)]
    with (shelf / "web" / "a.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    documents = prepared(BASE, shelf, shelf / "kept")
    with caplog.at_level("INFO"):
        account.say(documents)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("51 of 81 documents of web are left out: 51 short; ")
    assert "`sources[0].min_characters` decides on most of them; such as “web is short” · " in line
    assert line.count("“") == 3
    assert "\x1b" not in line
    assert "\n" not in line
    table = account.table(documents)
    assert table[2].startswith("| web | read | 81 | 100.0% | 0.0")
    assert "| web | short | 51 | 63.0% |" in table[3]
    assert table[4].startswith("| web | **kept** | 30 | 37.0% |")

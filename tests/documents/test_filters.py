"""Filters by the names that recipes give them: models from a file, lists without a network."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from datatrove.data import Document
from tests.conftest import ROOT

from moxin_recipes.documents import filters
from moxin_recipes.documents.columns import Removed
from moxin_recipes.recipe.keys.data import DocumentKeys, Model, Source
from moxin_recipes.recipe.strict import RecipeError

GOOD = (
    "The people who live near the river have to cross it every day, and that takes them an hour "
    "with the ferry. To build a bridge would be of use to all of them, but the town has no money "
    "to spare for that. So they wait, and they talk of the bridge that their children may see, "
    "with a road on it and a path for those who walk."
)


def verdict(name: str, text: str, folder: Path, model: Model | None = None, **more: Any) -> Any:
    """What the filter of that name says of a text."""
    own = DocumentKeys(sources=[], classifier=model)
    removed = Removed(str(folder), name)
    given = filters.Given(Source(name="web"), own, removed, lambda key, patterns: folder)
    made = filters.block(name, given)
    return made.filter(Document(text, "id", metadata=more))


def train(file: Path, model: Path) -> None:
    """A small model. One training in four ends in a NaN, with memory that was used before nearly
    each (prediction has no such fault): so each trial has a process of its own."""
    code = "import fasttext, sys; of, to = sys.argv[1:]; " + (
        "fasttext.train_supervised(of, thread=1, loss='ova', verbose=0).save_model(to)"
    )
    command = [sys.executable, "-c", code, str(file), str(model)]
    assert any(
        subprocess.run(command, capture_output=True, check=False).returncode == 0 for _ in range(30)
    )


def test_a_fasttext_model_keeps_what_it_scores_high_enough(tmp_path: Path) -> None:
    lines = [f"__label__hq how to solve a problem step by step {n}\n" for n in range(200)]
    lines += [f"__label__cc buy cheap shoes online now {n}\n" for n in range(200)]
    (tmp_path / "train.txt").write_text("".join(lines))
    train(tmp_path / "train.txt", tmp_path / "model.bin")
    model = Model(model="some/model", file="model.bin", label="hq", threshold=0.5)
    assert verdict("classifier", "how to solve\na problem", tmp_path, model) is True
    assert verdict("classifier", "cheap shoes", tmp_path, model) == (False, "classifier")
    missing = Model(model="some/model", file="other.bin", label="hq", threshold=0.5)
    with pytest.raises(RecipeError, match=r"`classifier\.file`: there is no other\.bin"):
        verdict("classifier", "text", tmp_path, missing)
    with pytest.raises(RecipeError, match="`language`: the filter of that name needs a model"):
        verdict("language", "text", tmp_path)


@pytest.mark.soak  # unpacks and reads lists of millions of domains
def test_addresses_on_the_ban_lists_go(tmp_path: Path) -> None:
    assert verdict("url", GOOD, tmp_path, url="https://www.python.org/about/") is True
    assert verdict("url", GOOD, tmp_path) is True  # none is known
    kept, reason = verdict("url", GOOD, tmp_path, url="https://example.org/free-porn-videos")
    assert not kept
    assert reason.startswith("url: ")


def test_a_filter_is_a_file_and_its_name_costs_nothing() -> None:
    """`check` asks for the names before anything heavy is loaded; every recipe's name is there."""
    code = "import sys; from moxin_recipes.documents import filters; print(*filters.names()); " + (
        "print({'datatrove', 'torch', 'numpy'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert loaded == "light"
    used: set[str] = set()
    for path in (ROOT / "recipes").glob("*/00-data.yaml"):
        for source in yaml.safe_load(path.read_text()).get("sources", []):
            used |= {*source.get("filters", []), *source.get("late_filters", [])}
    assert len(used) > 5
    assert used <= set(names.split())


def test_blank_lines_are_taken_out_and_no_document(tmp_path: Path) -> None:
    document = Document("one\n\n\n\ntwo\n\nthree", "id")
    given = filters.Given(
        Source(name="web"), DocumentKeys(), Removed(str(tmp_path), "x"), lambda *_: tmp_path
    )
    assert filters.block("blank_lines", given).filter(document) is True
    assert document.text == "one\n\ntwo\n\nthree"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("gopher_quality", "Too few words.", "gopher_short_doc"),
        ("gopher_quality", GOOD.replace(" ", " # ", 30), "gopher_too_many_hashes"),
        ("gopher_repetition", "Accept all cookies.\n" * 20, "dup_line_frac"),
        ("fineweb_quality", "no mark at the end\n" + "of a line\n" * 9, "line_punct_ratio"),
        ("short", "short", "short"),
    ],
)
def test_each_rule_gives_its_reason(tmp_path: Path, name: str, text: str, reason: str) -> None:
    assert verdict(name, GOOD, tmp_path) is True
    kept, said = verdict(name, text, tmp_path)
    assert not kept
    assert said == reason

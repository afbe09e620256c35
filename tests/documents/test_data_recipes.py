"""Recipes of the stage `data`: nested keys, what decides the key, templates, choice of files."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.conftest import ROOT

from moxin_recipes.documents import sources
from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.readers import Reader
from moxin_recipes.hub import pull
from moxin_recipes.hub.pull import Parent
from moxin_recipes.ladder import order
from moxin_recipes.recipe.identity import identity
from moxin_recipes.recipe.keys.data import DataKeys, Minhash, Source
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

FOLDERS = sorted(path.parent for path in (ROOT / "recipes").glob("*/00-data.yaml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_with_data_is_accepted(folder: Path) -> None:
    recipes = order.read(folder)
    order.outside_inputs(recipes)
    order.check_mixtures(recipes)
    keys = recipes[0].keys
    keys.check()
    names = {name for source in keys.sources for name in source.dedup}
    assert isinstance(keys.minhash, Minhash) == ("minhash" in names)


def changed(folder: Path, **values: Any) -> Recipe[Any]:
    nano = yaml.safe_load((ROOT / "recipes" / "moxin-nano" / "00-data.yaml").read_text())
    (folder / "00-data.yaml").write_text(yaml.safe_dump({**nano, **values}))
    return read(folder / "00-data.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minhash": {"unit": "words"}}, "`minhash.ngrams` is missing"),
        (
            {"minhash": {"unit": "words", "ngrams": 5, "bucket": 14, "hashes": 8}},
            "unknown key `minhash.bucket`; did you mean `buckets`?",
        ),
        ({"sources": [{"name": "a", "dedup": ["fuzzy"]}]}, "`sources[0].dedup[0]` must be"),
        ({"executor": "spark"}, "`executor` must be"),
    ],
)
def test_a_wrong_nested_key_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        changed(tmp_path, **values)
    assert message in str(error.value)


def test_where_it_runs_changes_no_key_and_all_inputs_are_pinned(tmp_path: Path) -> None:
    def key(**values: Any) -> str:
        return identity(changed(tmp_path, **values), [], Launcher()).key

    assert key(executor="slurm", slurm_partition="cpu", workers=500) == key()
    assert key(tasks=2) != key()  # documents are in another order
    large = read(ROOT / "recipes" / "moxin-7b-rebuild-dclm" / "00-data.yaml")
    assert [(r.key, r.type) for r in large.references] == [
        ("tokenizer_name_or_path", "model"),
        ("sources[0]", "dataset"),
        ("language", "model"),
        ("classifier", "model"),
    ]


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "hellaswag-train": (
        {"ctx": "A man sits.", "endings": ["He stands.", "He flies."], "label": "0"},
        "A man sits. He stands.",
    ),
    "mmlu-train": (
        {"question": "1+1?", "choices": ["1", "2", "3", "4"], "answer": 1},
        "1+1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B",
    ),
    "winogrande-train": (
        {
            "sentence": "The cup, not the _, fell.",
            "option1": "jug",
            "option2": "pan",
            "answer": "2",
        },
        "The cup, not the pan, fell.",
    ),
    "arc-train": (
        {
            "question": "Why?",
            "choices": {"text": ["so", "no"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        "Question: Why?\nAnswer: no",
    ),
    "piqa-train": (
        {"goal": "Open it", "sol1": "pull", "sol2": "push", "label": 1},
        "Question: Open it\nAnswer: push",
    ),
}


def test_templates_of_the_training_splits_give_the_right_answer(tmp_path: Path) -> None:
    keys = read(ROOT / "recipes" / "moxin-7b-trainsplit" / "00-data.yaml").keys
    assert isinstance(keys, DataKeys)
    assert [source.name for source in keys.sources] == list(ROWS)
    for source in keys.sources:
        row, text = ROWS[source.name]
        lines = orjson.dumps(row) + b"\n" + orjson.dumps({"other": 1})
        (tmp_path / "a.jsonl").write_bytes(lines)
        removed = Removed(str(tmp_path / source.name), "unreadable")
        block = Reader(str(tmp_path), ["a.jsonl"], removed, vars(source))
        assert [document.text for document in block.run()] == [text]
        assert (tmp_path / source.name / "00000.parquet").exists()  # the row without its columns


def test_a_share_of_the_files_is_chosen_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"a/{n:03d}.jsonl.zst" for n in range(100)] + ["b/0.jsonl", "a/README.md"]
    monkeypatch.setattr(pull, "files", lambda parent: names)
    parent = Parent("sources[0]", "dataset", "some/set", "main", "0" * 40, "")
    source = Source(name="web", files=["a/*"], file_share=0.35)
    chosen = sources.chosen_files(source, parent, seed=42)
    assert len(chosen) == 35
    assert chosen == sorted(chosen) == sources.chosen_files(source, parent, seed=42)
    assert chosen != sources.chosen_files(source, parent, seed=43)
    assert all(name.startswith("a/") and name.endswith(".zst") for name in chosen)
    with pytest.raises(RecipeError, match=r"`sources\[0\]\.files`: none of the 101 data files"):
        sources.chosen_files(Source(name="web", files=["c/*"]), parent, seed=42)

"""Pushed scores: computed again from items alone, edits named, models compared with errors."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.conftest import Workplace
from tests.test_ladder import python

from moxin_recipes.hub.splits import write_split
from moxin_recipes.scores import records
from moxin_recipes.scores.aggregates import group_scores, scores_of
from moxin_recipes.scores.table import _ABSENT

ACC = {"metric": "acc", "filter": "none", "of": "acc", "aggregation": "mean"}
PASS = {"metric": "pass@2", "filter": "none", "of": "pass", "aggregation": "pass@2"}
SETTINGS = {"shots": 0, "chat": False, "samples": 1, "dataset": {"path": "x", "commit": "c1"}}


def item(task: str, doc: int, sample: int, name: str, value: float) -> dict[str, Any]:
    row = {"unit": "u" * 12, "task": task, "doc_id": doc, "sample": sample, "filter": "none"}
    row |= {"digest": f"{task}-{doc // 2 if task == 'twins' else doc}", "target": "ä\n"}
    scores = json.dumps({name: value})
    return records.sealed(row | {"scores": scores, "loglikelihoods": [-1.5, float("-inf")]})


def unit(number: int, model: str, task: str, rows: list[dict[str, Any]], metric: Any) -> Any:
    return {
        "key": f"{number:012d}".ljust(64, "0"),
        "model": model,
        "task": task,
        "settings": SETTINGS | {"seed": number},
        "metrics": [metric],
        "items": f"items/test-{number:05d}.parquet",
        "digest": records.digest(rows),
        "problems": len({row["doc_id"] for row in rows}),
        "whole": True,
        "failed": None,
        "scores": scores_of([metric], rows),
    }


def write(folder: Path) -> Path:
    """Two models on 400 problems of which A alone has 19 right and B alone 12; pass@2; a group."""
    (folder / "items").mkdir(parents=True)
    units, table = [], []
    for model in ("base@a", "base@b"):
        alone = range(19) if model == "base@a" else range(19, 31)
        made = {
            "pairs": [
                item("pairs", n, 0, "acc", float(n in alone or n >= 300)) for n in range(400)
            ],
            "twins": [item("twins", n, 0, "acc", float(n % 3 == 0)) for n in range(8)],
            "code": [
                item("code", n, sample, "pass", float(sample < n))
                for sample in range(4)
                for n in range(4)
            ],
        }
        for task, rows in made.items():
            one = unit(len(units), model, task, rows, PASS if task == "code" else ACC)
            records.write_items(folder / one["items"], rows)
            units.append(one)
            shown = {"model": model, "task": task, "whole": True, "shots": 0, "items": len(rows)}
            shown |= {"unit": one["key"][:12], "metric": one["metrics"][0]["metric"]}
            table.append(_ABSENT | shown | numbers(one["scores"][0]))
    groups = []
    for key, parts in (("g" * 64, units[:2]), ("h" * 64, units[1:2])):  # one name, asked twice
        aggregates = [{"metric": "acc", "weight_by_size": True}]
        group = {"key": key, "model": "base@a", "task": "both", "aggregates": aggregates}
        shown = {"model": "base@a", "task": "both", "metric": "acc", "whole": True, "items": 8}
        shown |= {"unit": key[:12]} | numbers(group_scores(aggregates, parts)[0])
        table.append(_ABSENT | shown)
        groups.append(group | {"units": [one["key"] for one in parts]})
    records.write_units(folder, units, groups)
    write_split(folder, "test", table)
    return folder


def numbers(score: dict[str, Any]) -> dict[str, Any]:
    return {name: score[name] for name in ("value", "stderr", "low", "high")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scores") / "made")


UPLOAD = """
from huggingface_hub import HfApi
api = HfApi()
api.create_repo({repo!r}, repo_type="dataset", exist_ok=True)
api.upload_folder(repo_id={repo!r}, folder_path={folder!r}, repo_type="dataset")
"""


def pushed(place: Workplace, folder: Path, name: str) -> str:
    python(place, UPLOAD.format(repo=f"local/{name}", folder=str(folder)))
    return name


def moxin(place: Workplace, *words: str) -> subprocess.CompletedProcess[str]:
    return place.moxin(*words, "--hub", "local")


def test_all_aggregates_come_of_the_items(bench: Workplace, written: Path) -> None:
    done = moxin(bench, "scores", pushed(bench, written, "whole"))
    assert done.returncode == 0, done.stderr
    assert "computed again from 848 items: every score is the same" in done.stdout


def edits(folder: Path) -> Iterator[tuple[str, str]]:
    """Edits one thing of the folder each time; what `moxin scores` has to say of it."""
    path = folder / "items" / "test-00001.parquet"
    rows = records.read_items(path)
    records.write_items(path, [rows[0], rows[1] | {"scores": '{"acc": 1.0}'}, *rows[2:]])
    yield "item", "twins on base@a, document 1, sample 0 was edited"
    resealed = [rows[0], records.sealed(rows[1] | {"scores": '{"acc": 1.0}'}), *rows[2:]]
    records.write_items(path, resealed)
    yield "resealed", "items were added, left out, put in another order, or edited and sealed again"
    records.write_items(path, rows[1:])
    yield "less", "items were added, left out"
    path.unlink()
    yield "gone", "the items of twins on base@a are not there"
    records.write_items(path, rows)
    units, groups = records.read_units(folder), records.read_groups(folder)
    units[0]["scores"][0]["value"] += 0.01
    records.write_units(folder, units, groups)
    yield "unit", "units.json: pairs on base@a: acc, value is"
    units[0]["scores"][0]["value"] -= 0.01
    records.write_units(folder, units, groups)
    table = pq.read_table(folder / "test.parquet").to_pylist()
    for row, what in ((table[2], "code"), (table[-1], "both")):
        row["low"] -= 0.01
        write_split(folder, "test", table)
        yield what, f"test.parquet: {what} on base@a:"
        row["low"] += 0.01


def test_whatever_is_edited_is_said(bench: Workplace, tmp_path: Path) -> None:
    folder = write(tmp_path / "made")
    for what, said in edits(folder):
        done = moxin(bench, "scores", pushed(bench, shutil.copytree(folder, tmp_path / what), what))
        assert done.returncode == 1, what
        assert said in done.stderr, done.stderr


def test_two_models_are_compared_on_the_same_items(bench: Workplace, written: Path) -> None:
    repo = pushed(bench, written, "pair")
    done = moxin(bench, "compare", f"{repo}:@a", f"{repo}:@b", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    rows = {row["task"]: row for row in said["rows"]}
    assert set(rows) == {"pairs", "twins", "code"}
    assert rows["pairs"]["A − B"] == "+0.0175 ± 0.0139"
    assert (rows["pairs"]["pairs"], rows["pairs"]["alone"]) == (400, "19 / 12")
    assert rows["pairs"]["verdict"] == "noise"
    assert (rows["twins"]["pairs"], rows["code"]["metric"]) == (8, "pass@2")
    assert any("seed" in note for note in said["notes"])
    drawn = moxin(bench, "compare", f"{repo}:@a", f"{repo}:@b")
    assert "+0.0175 ± 0.0139" in drawn.stdout
    unclear = moxin(bench, "compare", repo, f"{repo}:@b")
    assert unclear.returncode == 1
    assert f"{repo}: 2 models fit; write {repo}:MODEL with one of: base@a, base@b" in unclear.stderr


def test_beside_the_paper_is_what_was_asked_as_there(
    bench: Workplace, written: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(written, tmp_path / "made")
    row = {"model": "base@a", "task": "math_500", "metric": "exact_match", "whole": True}
    row |= {"shots": 0, "samples": 1, "items": 500, "value": 0.7, "stderr": 0.0205}
    others = [{"samples": 16}, {"whole": False}, {"metric": "acc"}, {"model": "base@b"}]
    others += [{"task": "aime2024"}, {"failed": "no dataset"}]
    write_split(folder, "test", [_ABSENT | row | one for one in ({}, *others)])
    repo = pushed(bench, folder, "beside")
    done = moxin(bench, "compare", f"{repo}:@a", "paper:Moxin-7B-RL-DeepScaleR", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [(one["task"], one["here"], one["paper"]) for one in said["rows"]] == [
        ("math_500", "0.7000", "0.6800")
    ]
    error = (0.68 * 0.32 / 500 + 0.0205**2) ** 0.5
    assert said["rows"][0]["here − paper"] == f"+0.0200 ± {error:.4f}"
    assert said["rows"][0]["verdict"] == "noise"
    assert any("stops at 2,048" in note for note in said["notes"])
    for name, why in (("Moxin-7B-SFT", "has no whole task"), ("Moxin-DPO", "no suite has a row")):
        wrong = moxin(bench, "compare", f"{repo}:@a", f"paper:{name}")
        assert wrong.returncode == 1
        assert why in wrong.stderr


def test_what_is_no_repository_of_scores_is_said(bench: Workplace) -> None:
    done = moxin(bench, "scores", "openai/gsm8k")
    assert done.returncode == 1
    assert "openai/gsm8k: no scores there (units.json is missing)" in done.stderr
    done = moxin(bench, "compare", "nobody:x", "nobody:y")
    assert done.returncode == 1
    assert "no such repository" in done.stderr

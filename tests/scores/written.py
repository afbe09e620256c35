"""Repositories of scores as the stage writes them, of models that answered as a test says."""

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import Workplace
from tests.test_ladder import python

from moxin_recipes.hub.splits import write_split
from moxin_recipes.scores import records
from moxin_recipes.scores.aggregates import scores_of
from moxin_recipes.scores.rows import COUNTS, of_group, of_unit

Row = dict[str, Any]
Scored = tuple[Row, list[Row]]  # a unit and its items
ACC = {"metric": "acc", "filter": "none", "of": "acc", "aggregation": "mean"}
SETTINGS = {"shots": 0, "chat": False, "system": None, "generation": {}, "seed": 1}
SETTINGS |= {"dataset": {"path": "x", "commit": "c1"}}


def scored(
    model: str, task: str, problems: Sequence[Sequence[Any]], *metrics: Row, **settings: Any
) -> Scored:
    """A unit whose documents have these scores, one for each sample; documents 2n and 2n+1 of
    `twins` have the same text.
    """
    metrics = metrics or (ACC,)
    rows = [
        {"unit": "u" * 12, "task": task, "doc_id": n, "sample": sample, "filter": "none"}
        | {"digest": f"{task}-{n // 2 if task == 'twins' else n}", "target": "ä\n"}
        | {"scores": json.dumps({metric["of"]: samples[sample] for metric in metrics})}
        | {"loglikelihoods": [-1.5, float("-inf")]}
        for sample in range(len(problems[0]))
        for n, samples in enumerate(problems)
    ]
    rows = [records.sealed(row) for row in rows]
    settings = SETTINGS | {"samples": len(problems[0])} | settings
    unit = {"key": records.key_of(model, task, settings), "model": model, "payload": model}
    unit |= {"task": task, "settings": settings, "metrics": list(metrics)}
    unit |= {"whole": "limit" not in settings}
    unit |= {"digest": records.digest(rows), "problems": len(problems), "failed": None}
    unit |= {"counts": dict.fromkeys(COUNTS, 0)}
    return unit | {"scores": scores_of(metrics, rows, {"own": max})}, rows


def write(folder: Path, made: list[Scored], groups: dict[str, list[Scored]]) -> Path:
    """The repository's files; `groups` are of tasks of one model, `NAME` or `NAME/ANYTHING`."""
    (folder / "items").mkdir(parents=True)
    table, of_groups = [], []
    for number, (unit, rows) in enumerate(made):
        unit["items"] = f"items/test-{number:05d}.parquet"
        records.write_items(folder / unit["items"], rows)
        table += [{"model": unit["model"], **row} for row in of_unit(unit)]
    for name, parts in groups.items():
        units = [unit for unit, _ in parts]
        group = {"model": units[0]["model"], "task": name.partition("/")[0]}
        group |= {"key": hashlib.sha256(name.encode()).hexdigest()}
        group |= {"aggregates": [{"metric": "acc"}], "units": [unit["key"] for unit in units]}
        of_groups.append(group)
        whole = of_group(group, units, [rows for _, rows in parts])
        table += [{"model": group["model"], **row} for row in whole]
    records.write_units(folder, [unit for unit, _ in made], of_groups)
    write_split(folder, "test", table)
    return folder


UPLOAD = """
from huggingface_hub import HfApi
api = HfApi()
api.create_repo({repo!r}, repo_type="dataset", exist_ok=True)
api.upload_folder(repo_id={repo!r}, folder_path={folder!r}, repo_type="dataset")
"""


def push(place: Workplace, folders: dict[str, Path]) -> None:
    """Pushes folders as the datasets of these names."""
    code = [UPLOAD.format(repo=f"local/{name}", folder=str(at)) for name, at in folders.items()]
    python(place, "".join(code))


def moxin(place: Workplace, *words: str) -> subprocess.CompletedProcess[str]:
    """`moxin … --hub local`."""
    return place.moxin(*words, "--hub", "local")

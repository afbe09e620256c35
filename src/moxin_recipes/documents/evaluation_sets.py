"""Evaluation sets of a recipe → items to look for in the documents."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import get_dataset_config_names

from moxin_recipes.documents.contamination import Item, cell
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.evaluation_sets import EvaluationSet
from moxin_recipes.recipe.strict import RecipeError

Row = dict[str, Any]


def items(
    sets: Sequence[EvaluationSet],
    pull: Callable[[str], Path],
    problems: Path | None = None,
    heldout: Callable[[], Iterable[Row]] = list,
) -> Iterator[Item]:
    """The items of all sets, each named by its place: `CONFIG/SPLIT/ROW`, or a document's id.

    `pull` gives the folder of a dataset by its key (`keys`), `problems` holds the problem sets of
    this stage, `heldout` gives its held-out documents.
    """
    for position, wanted in enumerate(sets):
        key = f"decontaminate[{position}]"
        if wanted.dataset == "heldout":
            rows = _of_documents(heldout())
        elif wanted.dataset == "problems":
            if problems is None:
                raise RecipeError(f"`{key}.dataset`: problems, but there is no `hub_problems_id`")
            rows = _of_problems(wanted, problems, key)
        else:
            rows = _of_hub(wanted, pull(key), key)
        for name, row in rows:
            parts = [_cell(row, column, key) for column in wanted.columns]
            yield Item(wanted.name, name, parts, tuple(wanted.rules), tuple(wanted.columns))


def keys(sets: Sequence[EvaluationSet]) -> list[str]:
    """The key of each input: `decontaminate[0]`."""
    return [f"decontaminate[{position}]" for position in range(len(sets))]


def reads(
    sets: list[EvaluationSet], parent: Callable[[str], Parent], problems: Path | None
) -> list[Any]:
    """What decides the items of all sets, but for the held-out documents: settings and digests."""
    decisive: list[Any] = []
    for position, wanted in enumerate(sets):
        settings = asdict(wanted)
        if wanted.dataset == "problems" and problems is not None:
            files = [problems / config / f"{wanted.split}.parquet" for config in _configs(wanted)]
            settings["digests"] = [sha256_file(file) for file in files if file.exists()]
        elif wanted.dataset != "heldout":
            settings["dataset"] = parent(f"decontaminate[{position}]").payload
        decisive.append(settings)
    return decisive


def _configs(wanted: EvaluationSet) -> list[str]:
    return wanted.configs or ["problems"]


def _of_documents(documents: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    for row in documents:
        yield f"{row['source']}/{row['id']}", row


def _of_problems(wanted: EvaluationSet, folder: Path, key: str) -> Iterator[tuple[str, Row]]:
    for config in _configs(wanted):
        file = folder / config / f"{wanted.split}.parquet"
        if not file.exists():
            raise RecipeError(f"`{key}`: there is no split {wanted.split} of {config}")
        for number, row in enumerate(pq.read_table(file).to_pylist()):
            yield f"{config}/{wanted.split}/{number}", row


def _of_hub(wanted: EvaluationSet, folder: Path, key: str) -> Iterator[tuple[str, Row]]:
    configs: list[str | None] = [None]
    if wanted.configs == ["*"]:
        configs = [*get_dataset_config_names(str(folder))]
    elif wanted.configs:
        configs = [*wanted.configs]
    columns = [column.split(".")[0] for column in wanted.columns]
    for config in configs:
        for number, row in enumerate(load_split(folder, config, wanted.split, columns, key)):
            yield f"{config or 'default'}/{wanted.split}/{number}", row


def _cell(row: Row, column: str, key: str) -> str:
    try:
        return cell(row, column)
    except (KeyError, TypeError):
        raise RecipeError(
            f"`{key}.columns`: there is no `{column}` (there are: {', '.join(row)})"
        ) from None

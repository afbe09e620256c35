"""Tells which documents a pretraining step read, from the recipe and the index of its tokens."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem
from rich.table import Table

from moxin_recipes.hub.pull import Parent, read_manifest, resolve
from moxin_recipes.hub.session import errors
from moxin_recipes.ladder import launching
from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.order import Location, Order
from moxin_recipes.tokens.shards import of_manifest, select


@dataclass(frozen=True)
class Span:
    """A part of a document in a training sequence: its tokens from `tokens[0]` to `tokens[1]`."""

    sequence: int  # its number in the step, from 0
    rank: int
    source: str
    epoch: int
    document: str
    origin: str
    tokens: tuple[int, int]


def of_step(path: Path, step: int, rank: int | None = None) -> tuple[Parent, list[Span]]:
    """Returns the tokens repository, and the spans that step `step` (from 1) reads.

    `rank` selects what one process of the recipe's launcher reads. Raises RecipeError for a step or
    a rank that the recipe does not have.
    """
    recipe = read(path)
    keys = recipe.keys
    if not isinstance(keys, PretrainKeys):
        raise RecipeError(f"{path}: only a pretrain recipe reads tokens, this is `{recipe.stage}`")
    keys.check()
    steps = int(recipe.values.get("max_steps", 0))
    if not 1 <= step <= steps:
        raise RecipeError(f"`--step`: {path} has steps 1 to {steps}, not {step}")
    processes = launching.launcher_of(recipe, launching.file_of(recipe)).processes
    if rank is not None and not 0 <= rank < processes:
        raise RecipeError(f"`--rank`: the launcher starts ranks 0 to {processes - 1}, not {rank}")
    (reference,) = [reference for reference in recipe.references if reference.key == "dataset_name"]
    parent = resolve(reference)
    manifest = read_manifest(parent.repo, parent.type, parent.commit)
    if manifest is None:
        raise RecipeError(f"`dataset_name`: {parent.repo} was not made by a data stage")
    files = of_manifest(manifest)
    order = Order.from_keys(keys, lambda source, split: select(files, source, split))
    micro, _ = trainers.batches(recipe, processes)
    spans: list[Span] = []
    first = (step - 1) * keys.global_batch_size
    locations = order.locate_all(np.arange(first, first + keys.global_batch_size))
    for sequence in range(keys.global_batch_size):
        reader = sequence // micro % processes  # accelerate deals micro-batches in turn
        if rank in (None, reader):
            location = order.location(locations, sequence)
            for document, origin, tokens in _documents(parent, location, keys.context_length):
                where = (sequence, reader, location.source, location.epoch)
                spans.append(Span(*where, document, origin, tokens))
    return parent, spans


def _documents(
    parent: Parent, location: Location, context: int
) -> list[tuple[str, str, tuple[int, int]]]:
    """Returns (id, origin, token range) of each document; reads only the row groups it needs."""
    name = location.shard.index
    stop = location.start + context
    documents = []
    with errors(f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}: {name}"):
        place = f"datasets/{parent.repo}@{parent.commit}/{name}"
        with HfFileSystem().open(place, "rb") as file:
            index = pq.ParquetFile(file)
            column = index.schema_arrow.get_field_index("start")
            starts = [
                index.metadata.row_group(group).column(column).statistics.min
                for group in range(index.num_row_groups)
            ]
            first = int(np.searchsorted(starts, location.start, "right")) - 1
            last = int(np.searchsorted(starts, stop, "left"))
            for row in index.read_row_groups(list(range(first, last))).to_pylist():
                begin, end = (
                    max(row["start"], location.start) - row["start"],
                    min(row["start"] + row["tokens"], stop) - row["start"],
                )
                if begin < end:
                    documents.append((row["id"], row["origin"], (begin, end)))
    return documents


def table(title: str, spans: list[Span]) -> Table:
    """Returns the spans as a table for people."""
    result = Table(title=title)
    for name in ("sequence", "rank", "source", "epoch", "tokens", "document", "origin"):
        result.add_column(name)
    for span in spans:
        numbers = (str(span.sequence), str(span.rank), span.source, str(span.epoch))
        result.add_row(*numbers, "{}–{}".format(*span.tokens), span.document[:12], span.origin)
    return result


def rows(spans: list[Span]) -> list[dict[str, Any]]:
    """Returns the spans as rows for `--json`."""
    return [asdict(span) for span in spans]

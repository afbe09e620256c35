"""Which documents a step of pretraining read, from the recipe and the index of its tokens alone."""

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
from moxin_recipes.tokens.order import Order, Sample
from moxin_recipes.tokens.shards import TOKEN, Shard, select


@dataclass(frozen=True)
class Span:
    """A part of a document in a training sequence; `tokens` are [from, to) of the document's."""

    sequence: int  # in the step
    rank: int
    source: str
    epoch: int
    document: str
    origin: str
    tokens: tuple[int, int]


def of_step(path: Path, step: int, rank: int | None = None) -> tuple[Parent, list[Span]]:
    """The tokens repository, and what the sequences of a step (the first one is 1) hold.

    With `rank`, only what that process of the recipe's launcher reads.
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
    (reference,) = [one for one in recipe.references if one.key == "dataset_name"]
    parent = resolve(reference)
    manifest = read_manifest(parent.repo, parent.type, parent.commit)
    if manifest is None:
        raise RecipeError(f"`dataset_name`: {parent.repo} was not made by a data stage")
    files = {
        name: Shard(name, facts["size"] // TOKEN.itemsize)
        for name, facts in manifest["files"].items()
        if name.endswith(".bin")
    }
    order = Order.of(keys, lambda source, split: select(files, source, split))
    micro, _ = trainers.batches(recipe, processes)
    spans: list[Span] = []
    first = (step - 1) * keys.global_batch_size
    found = order.locate_all(np.arange(first, first + keys.global_batch_size))
    for sequence in range(keys.global_batch_size):
        reader = sequence // micro % processes  # accelerate deals micro-batches in turn
        if rank in (None, reader):
            sample = order.sample(found, sequence)
            for document, origin, tokens in _documents(parent, sample, keys.context_length):
                where = (sequence, reader, sample.source, sample.epoch)
                spans.append(Span(*where, document, origin, tokens))
    return parent, spans


def _documents(
    parent: Parent, sample: Sample, context: int
) -> list[tuple[str, str, tuple[int, int]]]:
    """Documents of a sequence; of the index only the row groups that it needs are read."""
    name = Path(sample.shard.path).with_suffix(".parquet").as_posix()
    stop = sample.start + context
    found = []
    with errors(f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}: {name}"):
        place = f"datasets/{parent.repo}@{parent.commit}/{name}"
        with HfFileSystem().open(place, "rb") as file:
            index = pq.ParquetFile(file)
            column = index.schema_arrow.get_field_index("start")
            starts = [
                index.metadata.row_group(group).column(column).statistics.min
                for group in range(index.num_row_groups)
            ]
            first = int(np.searchsorted(starts, sample.start, "right")) - 1
            last = int(np.searchsorted(starts, stop, "left"))
            for row in index.read_row_groups(list(range(first, last))).to_pylist():
                begin, end = (
                    max(row["start"], sample.start) - row["start"],
                    min(row["start"] + row["tokens"], stop) - row["start"],
                )
                if begin < end:
                    found.append((row["id"], row["origin"], (begin, end)))
    return found


def table(title: str, spans: list[Span]) -> Table:
    """For people."""
    made = Table(title=title)
    for name in ("sequence", "rank", "source", "epoch", "tokens", "document", "origin"):
        made.add_column(name)
    for span in spans:
        numbers = (str(span.sequence), str(span.rank), span.source, str(span.epoch))
        made.add_row(*numbers, "{}–{}".format(*span.tokens), span.document[:12], span.origin)
    return made


def rows(spans: list[Span]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [asdict(span) for span in spans]

"""What the preparation of a corpus takes: core-hours from measured rates, and disk."""

from dataclasses import dataclass, field
from typing import Any

from rich.filesize import decimal

from moxin_recipes.ladder import outputs
from moxin_recipes.plan.work import TOKEN_TEXT
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.tokens.shards import dtype_for

# MB of text a second on one core (docs/data.md, measured on 2026-11-23; errors of up to a third).
READ, NORMALISE, WRITE, AGAIN, TOKENISE = 113.0, 109.0, 56.0, 33.0, 11.6
DECONTAMINATE = 4.5
FILTERS = {
    "short": 15.0,
    "blank_lines": 70.0,
    "gopher_quality": 2.6,
    "gopher_repetition": 0.79,
    "lines": 5.2,
    "fineweb_quality": 12.0,
}
BLOOM = 1.9
MINHASH = {"characters": 0.55, "words": 1.5}  # its signatures; clusters are not counted
PARQUET = 0.61  # bytes of a file between the steps for each of its text (docs/data.md)


@dataclass
class Preparation:
    """What a data stage takes; None where the size of its sources is not known."""

    tokens: float | None = None
    core_hours: float | None = None
    disk: float | None = None  # bytes
    assumed: list[str] = field(default_factory=list)


def of_stage(recipes: list[Recipe[Any]], recipe: Recipe[Any], keys: DataKeys) -> Preparation:
    """The preparation of all sources, each as large as the phases of the ladder read."""
    if not keys.sources:
        return Preparation(0.0, 0.0, 0.0, ["generated rows: seconds of a core"])
    read = outputs.tokens_read(recipe, recipes)
    sizes = {
        source.name: float(source.max_bytes or TOKEN_TEXT * read.get(source.name, 0.0))
        for source in keys.sources
    }
    unknown = [name for name, size in sizes.items() if not size]
    if unknown:
        named = ", ".join(unknown)
        return Preparation(
            assumed=[f"the size of {named} is not known: no phase here reads it, no `max_bytes`"]
        )
    seconds = sum(sizes[source.name] / 1e6 * _seconds(source, keys) for source in keys.sources)
    text = sum(sizes.values())
    tokens = text / TOKEN_TEXT
    copies = 1 + bool(keys.decontaminate)
    disk = copies * PARQUET * text + dtype_for(keys.vocab_size).itemsize * tokens
    assumed = [
        f"{decimal(int(text))} of text: what the phases read, or `max_bytes`; {TOKEN_TEXT:g} bytes "
        "a token; core-hours by the rates of docs/data.md; downloads are not in the disk"
    ]
    steps = [(*one.filters, *one.late_filters, *one.dedup) for one in keys.sources]
    untimed = {name for names in steps for name in names} - {*FILTERS, "bloom", "minhash"}
    if untimed:
        assumed.append(f"not timed, so not counted: {', '.join(sorted(untimed))}")
    return Preparation(tokens, seconds / 3600, disk, assumed)


def _seconds(source: Source, keys: DataKeys) -> float:
    """Seconds of a core for a MB of a source: each step reads and writes."""
    rates = [READ, NORMALISE, WRITE, TOKENISE]
    rates += [FILTERS[name] for name in (*source.filters, *source.late_filters) if name in FILTERS]
    if "bloom" in source.dedup:
        rates += [AGAIN, BLOOM, WRITE]
    if "minhash" in source.dedup and keys.minhash:
        rates += [AGAIN, MINHASH[keys.minhash.unit], AGAIN, WRITE]
    if keys.decontaminate:
        rates += [AGAIN, DECONTAMINATE, WRITE]
    return sum(1 / rate for rate in rates)

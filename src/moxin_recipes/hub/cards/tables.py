"""What the tables of cards have in their cells."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from moxin_recipes.hub.licences import Part

Unit = dict[str, Any]
BEGIN, END = "<!-- scores of moxin-recipes -->", "<!-- end of scores -->"
_BLOCK = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval as text; a dash where there is none."""
    return "–" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def cell(value: Any) -> str:
    """A value as text that stays in its cell of a Markdown table; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    text = f"{value:,}" if type(value) is int else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def licences_by_part(parts: Iterable[Part]) -> list[tuple[str, str]]:
    """(part, its licences) in the order of their names."""
    found: dict[str, list[str]] = {}
    for part in sorted(parts, key=lambda part: (part.of, part.license)):
        mark = " (non-commercial)" if part.barrier == "non-commercial" else ""
        found.setdefault(part.of, []).append(part.license + mark)
    return [(of, "; ".join(dict.fromkeys(names))) for of, names in found.items()]


def asked(settings: dict[str, Any]) -> str:
    """How a task was asked, by the settings of its unit: `8-shot, chat, 4 samples`."""
    shots, samples = settings["shots"], settings["samples"]
    parts = {
        f"{shots}-shot": shots is not None,
        "chat": settings["chat"],
        "system prompt": settings["system"],
        f"{samples} samples": samples > 1,
    }
    return ", ".join(part for part, is_so in parts.items() if is_so)


def scores_of(unit: Unit) -> Iterator[dict[str, Any]]:
    """The scores of a unit that are numbers."""
    for score in unit["scores"]:
        if score["value"] is not None and math.isfinite(score["value"]):
            yield score


def named(score: dict[str, Any]) -> str:
    """`exact_match (flexible-extract)`: the metric, and the filter where there is one."""
    filtered = "" if score["filter"] == "none" else f" ({score['filter']})"
    return f"{score['metric']}{filtered}"


def without_table(body: str) -> str:
    """The text without the table of scores."""
    return _BLOCK.sub("", body)


def with_table(body: str, units: list[Unit]) -> str:
    """The text with the table at its place, at the end of a text that has none."""
    block = "\n".join((BEGIN, *_table(units), END))
    if _BLOCK.search(body):
        return _BLOCK.sub(lambda _: block, body, count=1)
    return f"{body.rstrip()}\n\n{block}\n"


def _table(units: list[Unit]) -> Iterator[str]:
    yield "## Scores\n\nOf these weights, by moxin-recipes, each over the whole set.\n"
    columns = ("task", "asked", "metric", "score", "95 % interval", "items", "on clean items")
    yield f"| {' | '.join(columns)} | dataset | scored at |"
    yield "|---" * (len(columns) + 2) + "|"
    for unit in units:
        dataset = unit["settings"]["dataset"]
        pinned = f"{dataset['path']}@{dataset['commit'][:12]}" if dataset["commit"] else None
        for score in scores_of(unit):
            measured = [named(score), float(score["value"]), interval(score["low"], score["high"])]
            row = [unit["task"], asked(unit["settings"]), *measured, unit["problems"]]
            row += [_clean(score), pinned or dataset["path"], unit["commit"][:12]]
            yield f"| {' | '.join(map(cell, row))} |"
    yield ""


def _clean(score: dict[str, Any]) -> str | None:
    value = score.get("clean_value")
    return None if value is None else f"{value:.4f} ({score['clean_items']} items)"


def span(seconds: float) -> str:
    """A time as people say it: `90 seconds`, `12 minutes`, `3 hours 20 minutes`."""
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    parts = {f"{hours:,} hour{'s' * (hours != 1)}": hours}
    parts |= {f"{minutes} minute{'s' * (minutes != 1)}": minutes}
    return " ".join(words for words, number in parts.items() if number)


def cost(manifest: dict[str, Any]) -> str:
    """What a result took, in one line: time, machine, tokens, energy and price."""
    machine = manifest["hardware"]
    processor = ", ".join(
        str(machine[name]) for name in ("cpu", "instructions") if machine.get(name)
    )
    processes = machine["processes"]
    on = f"{machine['cpus']} {machine['machine']} CPUs{f' ({processor})' if processor else ''}"
    gpus = machine["gpus"]
    on += f" and {len(gpus)} GPUs a node ({', '.join(sorted(set(gpus)))})" if gpus else ""
    parts = [f"{span(manifest['seconds'])} on {on}, {processes} process{'es' * (processes != 1)}"]
    if manifest.get("tokens"):
        parts.append(f"{manifest['tokens']:,} tokens")
    if manifest.get("energy_kwh"):
        parts.append(f"about {manifest['energy_kwh']:.3g} kWh (by `gpu_watts`)")
    if manifest.get("price"):
        parts.append(f"a price of {manifest['price']:.2f} (by `gpu_price`)")
    return ", ".join(parts)

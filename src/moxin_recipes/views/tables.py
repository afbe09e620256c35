"""The numbers of a report as tables."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moxin_recipes.hub.cards import tables as cards
from moxin_recipes.hub.licences import Part
from moxin_recipes.views.panels import number
from moxin_recipes.views.pictures import interval, outcomes, tokens_of_sources
from moxin_recipes.views.planned import Planned
from moxin_recipes.views.stages import Stage

Stages = Sequence[Stage]
_NUMBER = re.compile(r"–|[-+]?[\d,.]+(e[-+]\d+)?%?( to [\d,.]+)?")


@dataclass(frozen=True)
class Table:
    """A table; `folded` ones are opened by whoever wants them. Numbers stand at the right."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    folded: bool = False
    notes: tuple[str, ...] = ()


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: Iterable[Sequence[Any]],
    *,
    folded: bool = False,
    notes: Iterable[str] = (),
) -> Iterator[Table]:
    """The table, where it has a row; every cell as text."""
    cells = [[_text(value) for value in row] for row in rows]
    if cells:
        yield Table(title, columns, cells, folded, tuple(notes))


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return number(value) if isinstance(value, int | float) else str(value)


def is_number(text: str) -> bool:
    """Whether a cell belongs at the right of its column."""
    return bool(_NUMBER.fullmatch(text))


def artifacts(stages: Stages) -> Iterator[Table]:
    """Every repository at its commit, and what each stage read."""
    pushed = [
        (stage.name, f"{one.repo}@{stage.recipe.tag}", one.commit, one.manifest["payload"][:16])
        for stage in stages
        for one in stage.outputs.values()
    ]
    columns = ("stage", "pushed", "commit", "payload")
    yield from _table("Every artifact", columns, pushed, folded=True)
    parents = [
        (stage.name, parent["key"], f"{parent['repo']}@{parent['revision']}", parent["commit"])
        for stage in stages
        for parent in stage.main.get("parents") or []
    ]
    yield from _table(
        "What each stage read", ("stage", "key", "from", "commit"), parents, folded=True
    )


def bits(stages: Stages) -> Iterator[Table]:
    """Bits per byte after each phase: a column for each source."""
    measured = [stage for stage in stages if "bits_per_byte" in stage.metrics]
    names = list(
        dict.fromkeys(
            name for stage in measured for name in stage.metrics if name.startswith("bits_per_byte")
        )
    )
    columns = ("stage", *(name.partition("/")[2] or "all" for name in names))
    rows = [
        [stage.name, *(_fixed(stage.metrics.get(name)) for name in names)] for stage in measured
    ]
    yield from _table("Bits per byte of held-out text", columns, rows)


def metrics(stages: Stages) -> Iterator[Table]:
    """All that the stages after pretraining measured, with intervals where there are errors."""
    rows = []
    for stage in stages:
        if stage.main.get("scores") is not None:
            continue  # an evaluation's are in a table of their own
        for name, value in stage.metrics.items():
            if name.startswith("bits_per_byte") or name.endswith("_stderr"):
                continue
            known = f"{name}_stderr" in stage.metrics
            between = _interval(*interval(stage, name)) if known else "–"
            rows.append((stage.name, name.replace("_", " "), _fixed(value), between))
    columns = ("stage", "measured", "value", "95 % interval")
    yield from _table("All that was measured", columns, rows, folded=True)


def scores(stages: Stages) -> Iterator[Table]:
    """The scores of evaluations, failures too."""
    columns = ("model", "task", "shots", "metric", "score", "95 % interval", "items")
    for stage in stages:
        rows = [
            (
                *(row["model"], row["task"], row["shots"], row["metric"]),
                f"failed: {row['failed']}" if row["value"] is None else _fixed(row["value"]),
                _interval(row["low"], row["high"]),
                row["items"],
            )
            for row in stage.main.get("scores") or []
        ]
        yield from _table(f"Tasks ({stage.name})", columns, rows)


def revisions(stages: Stages) -> Iterator[Table]:
    """Scores over the revisions of a repository."""
    columns = ("task", "revision", "tokens", "metric", "score", "95 % interval")
    for stage in stages:
        rows = [
            (
                *(row["task"], f"{row['repo']}@{row['revision']}", row["tokens"], row["metric"]),
                *(_fixed(row["value"]), _interval(row["low"], row["high"])),
            )
            for row in stage.main.get("curve") or []
        ]
        yield from _table(f"Every revision ({stage.name})", columns, rows, folded=True)


def data(stages: Stages) -> Iterator[Table]:
    """What there is to read, what was removed and why, evaluation items in it, its licences."""
    for stage in stages:
        yield from _sources(stage)
        yield from _removed(stage)
        if stage.recipe.stage == "data":  # later manifests repeat the report of the texts
            yield from _contamination(stage)
            yield from _sets(stage)
    last = next((stage for stage in reversed(stages) if stage.main.get("licenses")), None)
    if last:
        rows = cards.licences_by_part(Part(**part) for part in last.main["licenses"])
        title = f"Licences of what {last.name} is made of"
        yield from _table(title, ("of", "licences"), rows, folded=True)


def _sources(stage: Stage) -> Iterator[Table]:
    counts = stage.main.get("counts") or {}
    keys = ("train/documents", "train/bytes", "train/tokens", "heldout/documents", "heldout/bytes")
    rows = [
        (name, *(counts.get(f"{name}/{key}") for key in keys)) for name in tokens_of_sources(stage)
    ]
    columns = ("source", "documents", "bytes", "tokens", "held-out documents", "held-out bytes")
    yield from _table(f"Text to train on ({stage.name})", columns, rows)


def _removed(stage: Stage) -> Iterator[Table]:
    rows = [
        (source, what, count, "–" if share is None else f"{share:.1%}")
        for source, what, count, share in outcomes(stage)
    ]
    columns = ("source", "kept, or removed why", "number", "share")
    yield from _table(f"Kept and removed ({stage.name})", columns, rows, folded=True)


def _contamination(stage: Stage) -> Iterator[Table]:
    rows = [
        (row["source"], row["set"], row["documents"], row["found_items"], row["items"])
        for row in stage.main.get("contamination") or []
    ]
    hit = [row for row in rows if row[2] or row[3]]
    note = (
        f"{len(rows):,} pairs of a source and an evaluation set were looked at, and in "
        f"{len(hit):,} of them a document held an item. Such documents were taken out."
    )
    columns = ("source", "evaluation set", "documents out", "items found", "items looked for")
    title = f"Evaluation items in the text ({stage.name})"
    yield from _table(title, columns, rows, folded=True, notes=[note])


def _sets(stage: Stage) -> Iterator[Table]:
    rows = [
        (one.repo, what, count)
        for one in stage.outputs.values()
        for what, count in (one.manifest.get("counts") or {}).items()
        if "/" not in what and ":" not in what
    ]
    yield from _table(f"Rows ({stage.name})", ("repository", "rows", "number"), rows)


def cost(stages: Stages) -> Iterator[Table]:
    """Time, tokens, machine, energy and price of each stage, and their sums."""
    rows: list[Sequence[Any]] = []
    for stage in stages:
        if stage.outputs:
            of = stage.main
            tokens = of.get("tokens") if stage.recipe.trains else None
            speed = round(tokens / of["seconds"]) if tokens and of["seconds"] else None
            what = (of["seconds"], tokens, speed, of.get("energy_kwh"), of.get("price"))
            rows.append((stage.name, *what, _machine(of["hardware"])))
    if rows:
        sums = [sum(row[at] or 0 for row in rows) or None for at in (1, 2, 4, 5)]
        rows.append(("all", sums[0], sums[1], None, sums[2], sums[3], ""))
    columns = ("stage", "seconds", "tokens", "tokens a second", "kWh", "price", "on")
    yield from _table("Time and cost of each stage", columns, rows)


def _machine(hardware: dict[str, Any]) -> str:
    gpus = Counter(hardware["gpus"])
    parts = [f"{count} × {name}" for name, count in gpus.items()]
    parts += [f"{hardware['cpus']} CPUs ({hardware.get('cpu') or hardware['machine']})"]
    parts += [f"{hardware['processes']} processes"] if hardware["processes"] > 1 else []
    return ", ".join(parts)


def plan(planned: Sequence[Planned]) -> Iterator[Table]:
    """Tokens planned and counted; FLOPs planned; those of the counted tokens, a second."""
    rows = [
        (
            *(one.stage, round(one.planned), one.counted, f"{one.counted / one.planned:.0%}"),
            *(None if one.flops is None else f"{one.flops:.3g}", one.seconds),
            None if one.rate is None else f"{one.rate:.3g}",
        )
        for one in planned
    ]
    columns = ("stage", "planned tokens", "tokens", "of plan", "planned FLOPs", "seconds")
    notes = [f"{one.stage}: {word}" for one in planned for word in one.assumed]
    yield from _table("Tokens and FLOPs", (*columns, "FLOP/s"), rows, notes=notes)


def _fixed(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return cards.interval(low, high)

"""Which pictures the manifests of a ladder have in them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.scores.statistics import Z, estimate
from moxin_recipes.views.panels import Bars, Curves, Dots, Line, Panel, Score
from moxin_recipes.views.stages import Stage

_BITS = "bits_per_byte"
Stages = Sequence[Stage]


def head(stages: Stages) -> list[Panel]:
    """What a ladder is judged by: held-out text, problems and tasks; the reward in training."""
    return [*bits(stages), *problems(stages), *tasks(stages), *_rewards(stages)]


def bits(stages: Stages) -> Iterator[Panel]:
    """Bits per byte of held-out text after each phase, of all text and of each source."""
    measured = [stage for stage in stages if _BITS in stage.metrics]
    if len(measured) < 2:
        return
    names = dict.fromkeys(
        name for stage in measured for name in stage.metrics if name.startswith(_BITS)
    )
    lines = [
        Line(
            name.partition("/")[2] or "all",
            [
                (tokens_before(stage, stages) + trained(stage), stage.metrics[name])
                for stage in measured
                if name in stage.metrics
            ],
        )
        for name in sorted(names)
    ]
    title = "Held-out text after each phase"
    yield Curves(title, "tokens of pretraining", "bits per byte", lines, marked=True)


def problems(stages: Stages) -> Iterator[Panel]:
    """Scores of each stage on held-out problems and pairs, before and after it."""
    by_name = {stage.name: stage for stage in stages}
    rows = []
    for stage in stages:
        earlier = by_name[stage.before].metrics if stage.before in by_name else {}
        for name in stage.recipe.keys.scores:
            if f"{name}_stderr" in stage.metrics:
                value, (low, high) = stage.metrics[name], interval(stage, name)
                label = f"{stage.name}: {name.replace('_', ' ')}"
                rows.append(Score(label, value, low, high, earlier.get(name)))
    if rows:
        yield Dots("Held-out problems, before → after", "score, with its interval of 95 %", rows)


def interval(stage: Stage, name: str) -> tuple[float, float]:
    """The interval of 95 % of a metric: from its items, or 1.96 errors on both sides."""
    items = (stage.main.get("items") or {}).get(name)
    if items:
        found = estimate([[item] for item in items])
        if found.low is not None and found.high is not None:
            return found.low, found.high
    value, error = stage.metrics[name], stage.metrics[f"{name}_stderr"]
    return max(0.0, value - Z * error), min(1.0, value + Z * error)


def tasks(stages: Stages) -> Iterator[Panel]:
    """Scores of evaluations of models, a panel for each stage that evaluates."""
    for stage in stages:
        rows = [
            Score(f"{row['model']}: {row['task']}", row["value"], row["low"], row["high"])
            for row in stage.main.get("scores") or []
            if row["value"] is not None
        ]
        if rows:
            title = f"Tasks on each model ({stage.name})"
            yield Dots(title, "score, with its interval of 95 %", rows)


def revisions(stages: Stages) -> Iterator[Panel]:
    """Each task over all revisions of a repository, by tokens where every manifest says them."""
    for stage in stages:
        curve = stage.main.get("curve") or []
        for task in dict.fromkeys(row["task"] for row in curve):
            yield _of_task(task, [row for row in curve if row["task"] == task])


def _of_task(task: str, rows: list[dict[str, Any]]) -> Curves:
    by_tokens = all(row["tokens"] is not None for row in rows)
    places = [row["tokens"] if by_tokens else place for place, row in enumerate(rows)]
    points = [(place, row["value"]) for place, row in zip(places, rows, strict=True)]
    known = all(row["low"] is not None and row["high"] is not None for row in rows)
    band = [(row["low"], row["high"]) for row in rows] if known else None
    x = "tokens" if by_tokens else "revision"
    return Curves(task, x, rows[0]["metric"], [Line(task, points, band)], marked=True)


def losses(stages: Stages) -> Iterator[Panel]:
    """The training loss: of all phases of pretraining by tokens, of each later stage by steps."""
    phases = [
        Line(stage.name, points)
        for stage in stages
        if isinstance(stage.recipe.keys, PretrainKeys)
        and (points := _log(stage, "loss", tokens_before(stage, stages)))
    ]
    if phases:
        yield Curves("Training loss by phase", "tokens", "nats a token", phases)
    for stage in stages:
        if not isinstance(stage.recipe.keys, PretrainKeys):
            yield from _curves(stage, ["loss"])


def rewards(stages: Stages) -> Iterator[Panel]:
    """What else the stages log of their training."""
    for stage in stages:
        yield from _curves(stage, [key for key in stage.recipe.keys.curves if key != "loss"])


def _rewards(stages: Stages) -> Iterator[Panel]:
    for stage in stages:
        yield from _curves(stage, ["reward"])


def _curves(stage: Stage, wanted: list[str]) -> Iterator[Panel]:
    for key, label in stage.recipe.keys.curves.items():
        points = _log(stage, key) if key in wanted else []
        if points:
            title = f"{stage.name}: {label}"
            yield Curves(title, "step", label, [Line(title, points)])


def _log(stage: Stage, key: str, begin: int | None = None) -> list[tuple[float, float]]:
    """(step, value) of a column of the log; with `begin`, tokens from there instead of steps."""
    rows = [row for row in stage.main.get("log") or [] if row.get(key) is not None]
    if begin is None:
        return [(row["step"], row[key]) for row in rows]
    keys = stage.recipe.keys
    each = keys.global_batch_size * keys.context_length
    return [(begin + row["step"] * each, row[key]) for row in rows]


def trained(stage: Stage) -> int:
    """Tokens that a stage trained on; 0 for one that trains nothing."""
    return (stage.main.get("tokens") or 0) if stage.recipe.trains else 0


def tokens_before(stage: Stage, stages: Stages) -> int:
    """Tokens of pretraining before a stage, by the models that each was started from."""
    made = {output.commit: one for one in stages for output in one.outputs.values()}
    total, seen = 0, {stage.name}
    while (before := made.get(_start(stage))) and before.name not in seen:
        stage = before
        seen.add(stage.name)
        total += trained(stage)
    return total


def _start(stage: Stage) -> str:
    parents = stage.main.get("parents") or []
    starts = (one["commit"] for one in parents if one["key"] == "model_name_or_path")
    return next(starts, "")


def sources(stages: Stages) -> Iterator[Panel]:
    """The tokens of each source, and how much of each a phase read."""
    for stage in stages:
        kept = tokens_of_sources(stage)
        if kept:
            rows = [(name, {"tokens": float(size)}) for name, size in kept.items()]
            yield Bars(f"What there is to read ({stage.name})", "tokens to train on", rows)
    read = [
        (stage.name, {name: float(size) for name, size in parts.items()})
        for stage in stages
        if isinstance(stage.recipe.keys, PretrainKeys) and (parts := _read(stage))
    ]
    if read:
        yield Bars("What each phase read", "tokens", read)


def removed(stages: Stages) -> Iterator[Panel]:
    """What became of each source: the share that was kept, and of each kind of reason."""
    for stage in stages:
        shares: dict[str, dict[str, float]] = {}
        for source, what, _, share in outcomes(stage):
            if share is not None:
                kinds = shares.setdefault(source, {"kept": 0.0})
                kind = what.partition(":")[0]
                kinds[kind] = kinds.get(kind, 0.0) + 100 * share
        if shares:
            title = f"Kept and removed ({stage.name})"
            yield Bars(title, "% of what was read", list(shares.items()))


def outcomes(stage: Stage) -> list[tuple[str, str, int, float | None]]:
    """(source, kept or why not, how many, which share) of a corpus, and of a distilled set."""
    corpus = stage.outputs.get("hub_corpus_id")
    counts = (corpus.manifest.get("counts") or {}) if corpus else {}
    found = [(*name.partition("/")[::2], count) for name, count in counts.items()]
    if stage.recipe.stage == "distill":
        told = (stage.main.get("counts") or {}).items()
        found += [("answers", *one) for one in told if re.match(r"kept$|rejected", one[0])]
    whole: Counter[str] = Counter()
    for source, _, count in found:
        whole[source] += count
    return [(*one, one[2] / whole[one[0]] if whole[one[0]] else None) for one in found]


def tokens_of_sources(stage: Stage) -> dict[str, int]:
    """Source → tokens to train on, of a stage that packs them."""
    ends = "/train/tokens"
    counts = stage.main.get("counts") or {}
    return {name[: -len(ends)]: size for name, size in counts.items() if name.endswith(ends)}


def _read(stage: Stage) -> dict[str, int]:
    counts = stage.main.get("counts") or {}
    return {
        name.partition("/")[0]: size for name, size in counts.items() if name.endswith("/tokens")
    }


def seconds(stages: Stages) -> Iterator[Panel]:
    """Seconds of each stage."""
    rows = [(one.name, {"seconds": float(one.main["seconds"])}) for one in stages if one.outputs]
    if rows:
        yield Bars("Time of each stage", "seconds", rows)

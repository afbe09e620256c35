"""The table of a plan, and the sentences below it."""

from collections.abc import Iterator

from rich.table import Table

from moxin_recipes.plan.gpus import Gpu
from moxin_recipes.plan.plan import Machines, Planned, total


def table(planned: list[Planned], machines: Machines) -> Table:
    """A line a stage, and their sum."""
    gpu = machines.gpu
    drawn = Table(
        title=f"{machines.nodes} × {machines.gpus_per_node} {gpu.device}", show_footer=True
    )
    sums = total(planned)
    columns: list[tuple[str, list[str], str]] = [
        ("stage", [one.stage for one in planned], "all"),
        ("GPUs", [f"{one.gpus:,}" if one.gpus else "" for one in planned], ""),
    ]
    for title, name, form in _COLUMNS:
        values = [_shown(getattr(one, name), form) for one in planned]
        columns.append((title, values, _shown(sums.get(name), form)))
    of = f"/{gpu.memory / 2**30:.1f}"
    peaks = ["" if one.peak_gib_per_gpu is None else _peak(one, of) for one in planned]
    columns.append(("GiB a GPU", peaks, ""))
    for title, values, foot in columns:
        side = "left" if title == "stage" else "right"
        drawn.add_column(title, justify=side, footer=foot, no_wrap=True)  # type: ignore[arg-type]
    for row in zip(*(values for _, values, _ in columns), strict=True):
        drawn.add_row(*row)
    return drawn


_COLUMNS = [
    ("tokens", "tokens", "short"),
    ("FLOPs", "flops", ".2e"),
    ("hours", "hours", ",.1f"),
    ("GPU-hours", "gpu_hours", ",.0f"),
    ("core-h", "core_hours", ",.0f"),
    ("price", "price", ",.0f"),
    ("kWh", "energy_kwh", ",.0f"),
    ("disk GB", "disk_gb", ",.1f"),
]


def _shown(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    if form != "short":
        return format(value, form)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:,.0f}"


def _peak(one: Planned, of: str) -> str:
    return f"{one.peak_gib_per_gpu:.1f}{of}" + ("" if one.fits else " !")


def notes(planned: list[Planned], gpu: Gpu) -> Iterator[str]:
    """What the numbers rest on, a line each; a sentence of several stages once."""
    stages: dict[str, list[str]] = {}
    for one in planned:
        for sentence in one.assumed:
            stages.setdefault(sentence, []).append(one.stage)
    for sentence, names in stages.items():
        yield f"{', '.join(names)}: {sentence}"
    yield f"GPU: {gpu.source}; {gpu.watts} W each at all times, for the GPUs alone"
    yield "memory: a step of the model under fake tensors, with a margin of a tenth (docs/plan.md)"

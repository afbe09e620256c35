"""The table of a plan, and the sentences below it."""

from collections.abc import Iterator

from rich.filesize import decimal
from rich.table import Table

from moxin_recipes.plan.gpus import GIB, Gpu
from moxin_recipes.plan.memory import MARGIN
from moxin_recipes.plan.plan import Machines, Planned, total

_COLUMNS = [
    ("tokens", "tokens"),
    ("FLOPs", "flops"),
    ("hours", "hours"),
    ("GPU-h", "gpu_hours"),
    ("core-h", "core_hours"),
    ("price", "price"),
    ("kWh", "energy_kwh"),
    ("disk", "disk_gb"),
    ("GiB a GPU", "peak_gib_per_gpu"),
]


def table(planned: list[Planned], machines: Machines) -> Table:
    """A line a stage, and their sum."""
    gpu = machines.gpu
    of = f"{machines.nodes} × {machines.gpus_per_node} {gpu.device}"
    drawn = Table(title=f"{of}, {gpu.memory / GIB:.1f} GiB each")
    drawn.add_column("stage", overflow="fold")
    drawn.add_column("GPUs", justify="right", no_wrap=True)
    for name, _ in _COLUMNS:
        drawn.add_column(name, justify="right", no_wrap=True)
    for one in planned:
        shown = [_shown(name, getattr(one, name)) for _, name in _COLUMNS]
        shown[-1] += "" if one.fits in (None, True) else " !"
        drawn.add_row(one.stage, f"{one.gpus:,}" if one.gpus else "–", *shown)
    drawn.add_section()
    sums = total(planned)
    drawn.add_row("all", "", *[_shown(name, sums.get(name)) for _, name in _COLUMNS[:-1]], "")
    return drawn


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "flops":
        return f"{value:.2e}"
    if name == "disk_gb":
        return decimal(int(value * 1e9))
    if name == "tokens":
        sizes = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")]
        return next((f"{value / one:.3g}{unit}" for one, unit in sizes if value >= one), "0")
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def notes(planned: list[Planned], gpu: Gpu) -> Iterator[str]:
    """What the numbers rest on, a line each; a sentence of several stages once."""
    stages: dict[str, list[str]] = {}
    for one in planned:
        for sentence in one.assumed:
            stages.setdefault(sentence, []).append(one.stage)
    for sentence, names in stages.items():
        yield f"{', '.join(names)}: {sentence}"
    yield f"GPU: {gpu.source}; {gpu.watts} W each at all times, for the GPUs alone"
    yield (
        "GiB a GPU: a step of the real model, counted without memory for it; to fit, it needs "
        f"{MARGIN:.0%} more (docs/plan.md)"
    )

"""The picture at the end of a ladder: its curves, drawn from the manifests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moxin_recipes.ladder.state import State


@dataclass(frozen=True)
class Panel:
    """One curve: (x, y) points, and for scores the interval of 95 % of each."""

    title: str
    x: str
    y: str
    points: list[tuple[float, float]]
    band: list[tuple[float, float]] | None = None


def panels(state: State) -> list[Panel]:
    """What there is to draw of a stage."""
    manifest = state.manifest or {}
    log, name = manifest.get("log") or [], state.recipe.name
    drawn = []
    for key, label in state.recipe.keys.curves.items():
        points = [(row["step"], row[key]) for row in log if key in row]
        if points:
            drawn.append(Panel(name, "step", label, points))
    curve = manifest.get("curve") or []
    for task in dict.fromkeys(row["task"] for row in curve):
        drawn.append(_of_task(task, [row for row in curve if row["task"] == task]))
    return drawn


def _of_task(task: str, rows: list[dict[str, Any]]) -> Panel:
    """A task over the revisions of one repository."""
    by_tokens = all(row["tokens"] is not None for row in rows)
    places = [row["tokens"] if by_tokens else place for place, row in enumerate(rows)]
    return Panel(
        task,
        "tokens" if by_tokens else "revision",
        rows[0]["metric"],
        [(place, row["value"]) for place, row in zip(places, rows, strict=True)],
        [(row["low"], row["high"]) for row in rows],
    )


def draw(states: list[State], path: Path) -> Path | None:
    """A panel for each curve of the stages; None when there is nothing to draw yet."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn = [panel for state in states for panel in panels(state)]
    if not drawn:
        return None
    columns = min(4, len(drawn))
    lines = -(-len(drawn) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 2.7 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, drawn, strict=False):
        _draw(axis, panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path


def _engineering() -> Any:
    """1.2 M for 1,200,000."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter()


def _draw(axis: Any, panel: Panel) -> None:
    places, values = zip(*panel.points, strict=True)
    dots = {"marker": "o", "ms": 3} if panel.band else {}
    axis.plot(places, values, color="#3b6ea5", lw=1.4, **dots)
    if panel.band:
        low, high = zip(*panel.band, strict=True)
        axis.fill_between(places, low, high, color="#3b6ea5", alpha=0.2, lw=0)
    if panel.x == "tokens":
        axis.xaxis.set_major_formatter("{x:,.0f}" if places[-1] < 1e5 else _engineering())
    axis.set_title(panel.title, fontsize=10, loc="left")
    axis.set_xlabel(panel.x, fontsize=8)
    axis.set_ylabel(panel.y, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)

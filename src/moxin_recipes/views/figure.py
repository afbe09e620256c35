"""The picture at the end of a ladder: its training curves, drawn from the manifests."""

from pathlib import Path

from moxin_recipes.ladder.state import State

Panel = tuple[str, str, list[tuple[float, float]]]  # title, label, (step, value)


def panels(state: State) -> list[Panel]:
    """What there is to draw of a stage."""
    log = (state.manifest or {}).get("log") or []
    drawn = []
    for key, label in state.recipe.keys.curves.items():
        points = [(row["step"], row[key]) for row in log if key in row]
        if points:
            drawn.append((state.recipe.name, label, points))
    return drawn


def draw(states: list[State], path: Path) -> Path | None:
    """A panel for each curve of the training stages; None when there is nothing to draw yet."""
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
    for axis, (title, label, points) in zip(axes.flat, drawn, strict=False):
        axis.plot(*zip(*points, strict=True), color="#3b6ea5", lw=1.4)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path

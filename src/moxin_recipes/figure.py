"""The picture at the end of a ladder: its training curves, drawn from the manifests."""

from pathlib import Path

from moxin_recipes.ladder import State

# What to draw of each kind of stage: key of the log, label of the axis.
_CURVES = {
    "pretrain": ("loss", "training loss (nats a token)"),
    "sft": ("loss", "training loss (nats a token)"),
    "dpo": ("rewards/accuracies", "reward accuracy in training"),
    "grpo": ("reward", "mean reward"),
}


def draw(found: list[State], path: Path) -> Path | None:
    """One panel a training stage; None when there is nothing to draw yet."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    drawn = [s for s in found if s.recipe.stage in _CURVES and (s.manifest or {}).get("log")]
    if not drawn:
        return None
    columns = min(4, len(drawn))
    lines = -(-len(drawn) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 2.7 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    for axis, state in zip(axes.flat, drawn, strict=False):
        key, label = _CURVES[state.recipe.stage]
        points = [row for row in (state.manifest or {})["log"] if key in row]
        axis.plot([p["step"] for p in points], [p[key] for p in points], color="#3b6ea5", lw=1.4)
        axis.set_title(state.recipe.name, fontsize=10, loc="left")
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path

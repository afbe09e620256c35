"""Draws panels: as SVG that a page holds and colours, and as one PNG of several."""

import hashlib
import html
import io
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from moxin_recipes.views.lineage import Lineage
from moxin_recipes.views.panels import Bars, Curves, Dots, Panel, number

# By role; in an SVG each becomes a variable of the page (`var(--ink)`), so that it follows its
# light and dark.
COLOURS = {
    "ink": "#1c1f24",
    "quiet": "#646b76",
    "line": "#d9dce1",
    "c1": "#2f6db4",
    "c2": "#c2601f",
    "c3": "#2c8653",
    "c4": "#8657ae",
    "c5": "#a8841a",
    "c6": "#b8456b",
    "c7": "#2a8a96",
    "c8": "#77808c",
}
DARK = {
    "ink": "#e4e6ea",
    "quiet": "#99a1ad",
    "line": "#363c45",
    "c1": "#6aa5e8",
    "c2": "#e8935a",
    "c3": "#63be8a",
    "c4": "#b691dc",
    "c5": "#d6b454",
    "c6": "#e57e9c",
    "c7": "#5fc0cc",
    "c8": "#a3acb8",
}
_SERIES = [COLOURS[f"c{number}"] for number in range(1, 9)]
_WIDTH, _HEIGHT = 4.2, 2.9  # inches of a panel: near 9 pixels a letter on a telephone
_NOISY = 40  # points, from which on a line is drawn thin with its running mean
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "moxin",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["quiet"],
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["line"],
    "grid.alpha": 0.6,
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["quiet"],
    "ytick.labelcolor": COLOURS["quiet"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.facecolor": "none",
}


def png(panels: Sequence[Panel], path: Path) -> Path | None:
    """The panels beside and under each other, two in a row; None where there are none.

    The file says of what it was drawn, and by what; where that is the same, it stays as it is.
    """
    if not panels:
        return None
    by = f"{Path(__file__).read_text()} matplotlib {metadata.version('matplotlib')}"
    drawn_of = hashlib.sha256(f"{by} {panels!r}".encode()).hexdigest()
    if path.exists() and drawn_of.encode() in path.read_bytes():
        return path
    plt = _pyplot()
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            lines,
            columns,
            figsize=(1.5 * _WIDTH * columns, 1.25 * _HEIGHT * lines),
            squeeze=False,
            layout="constrained",
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            _draw(axis, panel, titled=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        says = {"Software": None, "Comment": drawn_of}
        part = path.with_suffix(".part")
        figure.savefig(part, format="png", dpi=150, facecolor="white", metadata=says)
        plt.close(figure)
        part.replace(path)
    return path


def svg(panel: Panel | Lineage, name: str) -> str:
    """A panel as an `<svg>` for a page that defines the variables of `COLOURS`.

    `name` begins each id in it, so that several can stand in one page. Same panel, same bytes.
    """
    plt = _pyplot()
    height = _HEIGHT
    if isinstance(panel, Lineage):
        height = 0.27 * len(panel.nodes) + 0.2
    elif not isinstance(panel, Curves):
        parts = panel.parts if isinstance(panel, Bars) else []
        legend = 0.2 * -(-len(parts) // _columns(parts))
        height = max(1.3, 0.42 * len(panel.rows) + 0.6 + legend)
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
        _draw(axis, panel, titled=False)
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
        plt.close(figure)
    return _for_page(file.getvalue(), name, panel.title, panel.words())


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _for_page(text: str, name: str, title: str, words: str) -> str:
    """The SVG without the head of a file, with a name and a description, coloured by the page."""
    text = text[text.index("<svg") :].strip()
    box = text.partition('viewBox="')[2].partition('"')[0]
    body = text[text.index(">") + 1 :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for role, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{role})")
    head = f'<svg viewBox="{box}" role="img" aria-labelledby="{name}-title {name}-words">'
    told = f'<title id="{name}-title">{html.escape(title)}</title>'
    told += f'<desc id="{name}-words">{html.escape(words)}</desc>'
    return f"{head}\n {told}{body}"


def _draw(axis: Any, panel: Panel | Lineage, *, titled: bool) -> None:
    if titled:
        axis.set_title(panel.title)
    if isinstance(panel, Curves):
        _curves(axis, panel)
    elif isinstance(panel, Dots):
        _dots(axis, panel)
    elif isinstance(panel, Bars):
        _bars(axis, panel)
    else:
        _lineage(axis, panel)


def _curves(axis: Any, panel: Curves) -> None:
    from matplotlib.ticker import EngFormatter

    for at, line in enumerate(panel.lines):
        colour = _SERIES[at % len(_SERIES)]
        places, values = zip(*line.points, strict=True)
        noisy = len(values) >= _NOISY and not panel.marked
        dots = {"marker": "o", "ms": 4} if panel.marked else {}
        wide = 2.4 if panel.marked and at == 0 else 1.6
        look = {"lw": 0.7, "alpha": 0.35} if noisy else {"lw": wide, "label": line.label}
        axis.plot(places, values, color=colour, **look, **dots)
        if noisy:
            axis.plot(places, _running(values), color=colour, lw=1.8, label=line.label)
        if line.band:
            low, high = zip(*line.band, strict=True)
            axis.fill_between(places, low, high, color=colour, alpha=0.2, lw=0)
    axis.set_xlabel(panel.x)
    if not panel.title.endswith(panel.y):  # else the heading says it
        axis.set_ylabel(panel.y)
    largest = max(place for line in panel.lines for place, _ in line.points)
    if largest >= 10_000:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.locator_params(axis="x", nbins=6, integer=True)
    axis.yaxis.get_major_formatter().set_useOffset(False)
    if len(panel.lines) > 1:
        _legend(axis)


def _legend(axis: Any) -> None:
    """Under the axis and its label, where it hides nothing."""
    from matplotlib.transforms import ScaledTranslation

    down = ScaledTranslation(0, -0.5, axis.figure.dpi_scale_trans)  # inches
    below = {"bbox_to_anchor": (0, 0), "bbox_transform": axis.transAxes + down}
    columns = _columns(axis.get_legend_handles_labels()[1])
    look = {"ncols": columns, "columnspacing": 1.2, "handlelength": 1.4}
    axis.legend(loc="upper left", **below, **look, borderpad=0, borderaxespad=0)


def _columns(labels: Sequence[str]) -> int:
    """How many columns of a legend have room beside each other."""
    widest = max(map(len, labels), default=0)
    return 3 if widest <= 17 else 2


def _running(values: tuple[float, ...]) -> list[float]:
    """The mean of each value and its neighbours, a twelfth of all around it."""
    half = len(values) // 24
    near = [values[max(0, at - half) : at + half + 1] for at in range(len(values))]
    return [sum(some) / len(some) for some in near]


def _dots(axis: Any, panel: Dots) -> None:
    for place, row in enumerate(panel.rows):
        if row.low is not None and row.high is not None:
            axis.plot([row.low, row.high], [place, place], color=COLOURS["c1"], lw=5, alpha=0.25)
        if row.before is not None:
            axis.plot([row.before, row.value], [place, place], color=COLOURS["c1"], lw=1.2)
            axis.plot(row.before, place, "o", mfc="none", mec=COLOURS["c1"], ms=6)
        axis.plot(row.value, place, "o", color=COLOURS["c1"], ms=5)
    spread = [value for row in panel.rows for value in (row.value, row.low or 0, row.high or 0)]
    if min(spread) >= 0 and max(spread) <= 1:
        axis.set_xlim(-0.02, 1.02)
    _listed(axis, panel.x, [(row.label, row.words()) for row in panel.rows])


def _bars(axis: Any, panel: Bars) -> None:
    from matplotlib.ticker import EngFormatter

    names, several = panel.parts, len(panel.parts) > 1
    for place, (_, parts) in enumerate(panel.rows):
        left = 0.0
        for name, size in parts.items():
            colour = _SERIES[names.index(name) % len(_SERIES)]
            axis.barh(place, size, left=left, height=0.36, color=colour)
            left += size
    if several:
        for at, name in enumerate(names):
            axis.barh(0, 0, color=_SERIES[at % len(_SERIES)], label=name)
        _legend(axis)
    if max(sum(parts.values()) for _, parts in panel.rows) >= 10_000:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    totals = [number(sum(parts.values())) for _, parts in panel.rows]
    told = totals if not several else [""] * len(totals)
    _listed(axis, panel.x, [(row[0], one) for row, one in zip(panel.rows, told, strict=True)])


def _listed(axis: Any, x: str, rows: list[tuple[str, str]]) -> None:
    """Each row has its label above it at the left and its number at the right, as in a list."""
    across = axis.get_yaxis_transform()
    for place, (label, value) in enumerate(rows):
        axis.text(0, place - 0.3, label, transform=across, fontsize=8.5, va="bottom")
        axis.text(1, place - 0.3, value, transform=across, fontsize=8.5, va="bottom", ha="right")
    axis.set_ylim(len(rows) - 0.6, -0.75)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel(x)
    axis.locator_params(axis="x", nbins=6)


def _lineage(axis: Any, panel: Lineage) -> None:
    """A list with arcs at its left: from what each was made, the model's own line bold."""
    from matplotlib.patches import Arc

    widest = max((below - above for above, below, _ in panel.edges), default=1)
    for above, below, is_model in panel.edges:
        size = below - above
        look: dict[str, Any] = {"lw": 0.8, "color": COLOURS["quiet"], "alpha": 0.6}
        look = {"lw": 2.0, "color": COLOURS["c1"]} if is_model else look
        look |= {"width": 2.2 * (size / widest) ** 0.7, "height": size}
        axis.add_patch(Arc((0, (above + below) / 2), theta1=90, theta2=270, **look))
    for place, node in enumerate(panel.nodes):
        fill = COLOURS["c1"] if node.is_model else COLOURS["quiet"]
        axis.plot(0, place, "o", ms=5, color=fill, mfc=fill if node.made else "none")
        axis.text(0.1, place, node.label, va="center", fontsize=8.5)
        quiet = {"color": COLOURS["quiet"], "fontsize": 8.5}
        axis.text(1.8, place, node.repo, va="center", **quiet)
    axis.set_xlim(-1.2, 4.0)
    axis.set_ylim(len(panel.nodes) - 0.5, -0.5)
    axis.axis("off")

"""The lineage of a release as a drawing: the models one below the other, their data beside them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any

from moxin_recipes.hub.ancestry import Link

FILE = "lineage.svg"
_TRAINED_ON = ("dataset_name", "pass_rates_name")  # other data only measure
_WIDTH, _ROW, _BOX, _WIDE = 500, 66, 46, 206  # pixels; narrow, so that a phone can show it
_FOREIGN = "not made here"
_LEFT, _RIGHT = 28, _WIDTH - _WIDE - 12
# Colours are attributes, for readers that leave styles out: they show it on paper of its own.
_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #15181c; } .box { fill: #1d2126; stroke: #4a515c; } .data { fill: #182a3d; }
  .last { stroke: #8ab4ff; } .ink { fill: #e4e6ea; } .quiet { fill: #99a1ad; }
  .edge { stroke: #7d8693; } .tip { fill: #7d8693; }
}
"""


@dataclass
class _Node:
    name: str
    about: str
    kind: str  # box, box data, box last
    x: int
    row: int

    @property
    def words(self) -> str:
        return f"{self.name} ({self.about})"

    @property
    def y(self) -> int:
        return 10 + self.row * _ROW


@dataclass
class _Picture:
    nodes: list[_Node] = field(default_factory=list)
    edges: list[tuple[_Node, _Node]] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)  # x of a column → its first free row

    def node(self, name: str, about: str, kind: str, x: int, row: int) -> _Node:
        """A box, in the first free row of its column from `row` on."""
        row = max(row, self.rows.get(x, 0))
        self.rows[x] = row + 1
        made = _Node(name, about, kind, x, row)
        self.nodes.append(made)
        return made


def draw(release: str, line: list[Link], datasets: dict[str, dict[str, Any]]) -> str:
    """The drawing as SVG text; `datasets` are manifests of data by their commit.

    It has a title and a description in words, and follows the reader's light or dark colours.
    """
    picture = _Picture()
    data: dict[str, _Node] = {}
    above: _Node | None = None
    for link in line:
        row = picture.rows.get(_RIGHT, 0)
        for parent in _trained_on(link.manifest):
            _add_data(picture, data, parent, datasets, row)
        node = picture.node(
            _name(link.repo), link.manifest.get("recipe_name", _FOREIGN), "box", _RIGHT, row
        )
        picture.edges += [(data[p["commit"]], node) for p in _trained_on(link.manifest)]
        picture.edges += [(above, node)] if above else []
        above = node
    if above:
        last = picture.node(_name(release), "the weights above", "box last", _RIGHT, 0)
        picture.edges.append((above, last))
    return _written(picture, _name(release))


def told(line: list[Link]) -> str:
    """The same in words, for those who do not see it: `a, then b (31-dpo, on c)`."""
    parts = []
    for link in line:
        on = [_name(parent["repo"]) for parent in _trained_on(link.manifest)]
        stage = link.manifest.get("recipe_name")
        how = ", ".join(part for part in (stage, on and f"on {' and '.join(on)}") if part)
        parts.append(f"{_name(link.repo)}{f' ({how})' if how else ''}")
    return ", then ".join(parts)


def _add_data(
    picture: _Picture,
    data: dict[str, _Node],
    parent: dict[str, Any],
    manifests: dict[str, dict[str, Any]],
    row: int,
) -> None:
    """The box of a dataset, and of those that it was made from, once each."""
    if parent["commit"] in data:
        return
    manifest = manifests.get(parent["commit"], {})
    about = f"made by {manifest['recipe_name']}" if manifest else _FOREIGN
    node = picture.node(_name(parent["repo"]), about, "box data", _LEFT, row)
    data[parent["commit"]] = node
    for other in _trained_on(manifest):
        _add_data(picture, data, other, manifests, row)
        picture.edges.append((data[other["commit"]], node))


def _trained_on(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    if manifest.get("stage") == "init":
        return []
    return [parent for parent in manifest.get("parents", []) if parent["key"] in _TRAINED_ON]


def _name(repo: str) -> str:
    return repo.rpartition("/")[2]


def _written(picture: _Picture, title: str) -> str:
    height = 20 + _ROW * max([*picture.rows.values(), 1]) - (_ROW - _BOX)
    body = [_edge(before, after) for before, after in picture.edges]
    body += [part for node in picture.nodes for part in _box(node)]
    names = " ".join(f"{before.words} → {after.words}." for before, after in picture.edges)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title words">',
            f'<title id="title">How {escape(title)} was made</title>',
            f'<desc id="words">{escape(names)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        )
    )


def _box(node: _Node) -> Iterable[str]:
    fill = "#e8f0fb" if "data" in node.kind else "#f6f7f9"
    stroke = "#1d4fb8" if "last" in node.kind else "#c3c8d1"
    yield (
        f'<rect class="{node.kind}" x="{node.x}" y="{node.y}" width="{_WIDE}" height="{_BOX}" '
        f'rx="6" fill="{fill}" stroke="{stroke}"/>'
    )
    for text, size, weight, dy, name, ink in (
        (node.name, 13, 600, 19, "ink", "#1c1f24"),
        (node.about, 12, 400, 36, "quiet", "#5a616c"),
    ):
        fits = int((_WIDE - 20) / (size * 0.6))
        shown = text if len(text) <= fits else text[: fits - 1] + "…"
        yield (
            f'<text class="{name}" x="{node.x + 10}" y="{node.y + dy}" font-size="{size}" '
            f'font-weight="{weight}" font-family="sans-serif" fill="{ink}">{escape(shown)}</text>'
        )


def _edge(before: _Node, after: _Node) -> str:
    """A line with a tip: down a column, or from the data to the model beside it."""
    half = _BOX // 2
    if before.x != after.x:
        x, y, to_x, to_y = before.x + _WIDE, before.y + half, after.x, after.y + half
        middle = (x + to_x) // 2
        path = f"M{x},{y} C{middle},{y} {middle},{to_y} {to_x - 6},{to_y}"
        tip = f"M{to_x},{to_y} l-8,-4 v8 z"
    elif abs(after.row - before.row) == 1:
        x, down = before.x + _WIDE // 2, after.row > before.row
        y, to_y, back = (before.y + _BOX, after.y, -8) if down else (before.y, after.y + _BOX, 8)
        path, tip = f"M{x},{y} V{to_y + back}", f"M{x},{to_y} l-4,{back} h8 z"
    else:
        x, y, to_y = before.x, before.y + half, after.y + half
        path = f"M{x},{y} C{x - 24},{y} {x - 24},{to_y} {x - 6},{to_y}"
        tip = f"M{x},{to_y} l-8,-4 v8 z"
    return (
        f'<path class="edge" d="{path}" fill="none" stroke="#8a919d" stroke-width="1.5"/>'
        f'<path class="tip" d="{tip}" fill="#8a919d"/>'
    )

"""The plan of the house, read from its own source: arrows go down, rooms have no circles, sizes."""

import ast
import functools
import itertools
import statistics
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src"
# From the top; a room imports what stands below it. Rooms of one line may use each other as
# BETWEEN says. A module beside the rooms, as run.py, is a room by itself.
LEVELS = [
    {"cli"},
    {"audit", "views", "jobs"},
    {"plan"},
    {"ladder"},
    {"stages"},
    {"run"},
    {
        *("documents", "tokens", "chats", "problems", "teachers", "models", "training", "cpu"),
        *("scores", "rewards"),
    },
    {"ranks"},
    {"hub"},
    {"recipe"},
    {"environment", "ending"},
    {"secrecy"},
]
BETWEEN = {
    "cpu": {"models"},
    "documents": {"problems", "tokens"},
    "models": {"chats"},
    "problems": {"chats"},
    "rewards": {"chats", "problems"},
    "teachers": {"chats", "problems", "rewards"},
    "training": {"chats", "cpu", "documents", "models", "scores"},
    "scores": {"chats", "documents", "models", "problems", "rewards", "tokens"},
}
HUB_USERS = {"cli", "hub", "environment"}


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name → file of every module of src."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(SOURCE.rglob("*.py"))
    }


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imported(module: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The modules of src that import statements name; a name out of a module counts as it."""
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: an import names its package"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            ends = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
            yield from itertools.islice((part for part in ends if part in modules()), 1)


def room(module: str) -> str:
    """`moxin_hub`, or the first name below moxin_recipes."""
    package, _, below = module.partition(".")
    return below.split(".")[0] if package == "moxin_recipes" else package


@functools.cache
def arrows() -> set[tuple[str, str]]:
    """(module, imported module) over the border of a room, late imports and types included."""
    return {
        (module, target)
        for module in modules()
        for target in imported(module, ast.walk(tree(module)))
        if room(module) != room(target) and room(target)
    }


def level(name: str) -> int:
    (place,) = [number for number, rooms in enumerate(LEVELS) if name in rooms]
    return place


def test_arrows_only_go_down() -> None:
    inside = [arrow for arrow in arrows() if "moxin_hub" not in map(room, arrow)]
    assert len(inside) > 100
    assert [arrow for arrow in inside if level(room(arrow[0])) > level(room(arrow[1]))] == []


def test_rooms_of_one_level_use_each_other_without_circles() -> None:
    used: dict[str, set[str]] = {}
    for arrow in arrows():
        source, target = map(room, arrow)
        if "moxin_hub" not in (source, target) and level(source) == level(target):
            used.setdefault(source, set()).add(target)
    assert used == BETWEEN
    TopologicalSorter(used).prepare()  # raises for a circle


def test_modules_have_no_circles() -> None:
    """Of what is imported with the module: neither in a function nor for types alone."""
    graph = {module: set(imported(module, _at_once(tree(module)))) for module in modules()}
    for module, needed in graph.items():
        needed.discard(module)
    TopologicalSorter(graph).prepare()


def _at_once(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        types_alone = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if types_alone or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from _at_once(child)


def test_no_stage_imports_a_stage() -> None:
    for module in modules():
        if module.startswith("moxin_recipes.stages."):
            targets = set(imported(module, ast.walk(tree(module))))
            assert not [name for name in targets if name.startswith("moxin_recipes.stages.")]


def test_the_hubs_package_is_known_by_its_launcher_alone() -> None:
    crossing = [arrow for arrow in arrows() if "moxin_hub" in map(room, arrow)]
    assert {room(source) for source, _ in crossing} <= HUB_USERS
    assert {target for _, target in crossing} == {"moxin_hub.launcher"}


def test_files_and_functions_are_small() -> None:
    files = {str(path): len(path.read_text().splitlines()) for path in modules().values()}
    functions = {
        f"{module}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert statistics.median(files.values()) <= 120
    assert {name: lines for name, lines in files.items() if lines > 300} == {}
    assert statistics.median(functions.values()) <= 10
    assert {name: lines for name, lines in functions.items() if lines > 50} == {}


def test_every_function_is_typed() -> None:
    """mypy is strict over all of src, and nobody has turned that off for a module."""
    settings = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "\nstrict = True\n" in settings
    untyped = [
        f"{module}:{node.name}"
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None
    ]
    assert untyped == []
    assert not [path for path in modules().values() if "mypy: ignore-errors" in path.read_text()]

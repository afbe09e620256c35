"""What a stage writes on its way to the Hub: folders of a size it takes, whole JSON."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# A folder of the public Hub holds 10,000 entries: below half of that it stays as it is, and leaves
# room for what comes beside; above, its files go into sub-folders.
FOLDER = 5000
SUB_FOLDER = 1000


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader sees all of it or the file before."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def clear(folder: Path) -> Path:
    """An empty folder at this path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def spread(names: list[str]) -> list[str]:
    """Paths for the files of one folder, in their order: `NAME`, or `0000/NAME` for thousands.

    At most SUB_FOLDER files have a sub-folder, so the paths sort as the names do.
    """
    if len(names) <= FOLDER:
        return names
    return [f"{number // SUB_FOLDER:04d}/{name}" for number, name in enumerate(names)]


def groups(items: Iterable[T], *bounds: tuple[Callable[[T], int], int]) -> Iterator[list[T]]:
    """Items in their order, in groups of one, or of more with no sum above its bound.

    A bound is what of an item is summed, and the most that the sum may be.
    """
    group: list[T] = []
    sums = [0] * len(bounds)
    for item in items:
        sums = [total + of(item) for total, (of, _) in zip(sums, bounds, strict=True)]
        if group and any(total > most for total, (_, most) in zip(sums, bounds, strict=True)):
            yield group
            group, sums = [], [of(item) for of, _ in bounds]
        group.append(item)
    if group:
        yield group

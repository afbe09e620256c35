"""What a stage writes on its way to the Hub: folders of a size it takes, whole JSON."""

import json
import shutil
from pathlib import Path
from typing import Any

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

"""Files that are whole or absent: a unique temporary name, fsync, rename, fsync of the folder."""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def temporary_name(folder: Path) -> Path:
    """A name in `folder` that nobody else has; a stop may leave it behind, start-up sweeps it."""
    return folder / f"tmp-{secrets.token_hex(12)}"


def write(path: Path, content: bytes, via: Path | None = None) -> None:
    """Puts `content` at `path`; a reader sees the old file or the new one, never a part.

    The temporary file lies in `via`, by default beside `path`.
    """
    temporary = temporary_name(via or path.parent)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value, indent=1).encode())


def make_folders(folder: Path) -> None:
    """Creates `folder` and its missing parents so that they survive a power cut."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Makes the bytes of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(paths: Iterable[Path], older_than: float) -> int:
    """Deletes those files not touched since `older_than` (seconds of the epoch); counts them."""
    swept = 0
    for path in paths:
        try:
            if path.stat().st_mtime < older_than:
                path.unlink()
                swept += 1
        except FileNotFoundError:
            continue  # finished, or swept by somebody else
    return swept

"""Files that are whole or absent: a unique temporary name, fsync, rename, fsync of the folder."""

import json
import os
import secrets
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


def remove_stale(path: Path, before: float) -> int | None:
    """Deletes a file not touched since `before` (seconds of the epoch); None if it did not.

    Returns the bytes that the file had.
    """
    try:
        status = path.stat()
        if status.st_mtime >= before:
            return None
        path.unlink()
    except FileNotFoundError:  # finished, or deleted by somebody else
        return None
    return status.st_size

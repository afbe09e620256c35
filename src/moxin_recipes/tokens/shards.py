"""Reads shards of tokens in a folder by position."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moxin_recipes.recipe.strict import RecipeError

TOKEN = np.dtype("<u2")


@dataclass(frozen=True)
class Shard:
    """A file `SOURCE/SPLIT-TASK-NUMBER.bin` of a tokens repository, with its sha256 if known.

    Where a source has thousands of files they are in sub-folders, `SOURCE/0000/…`.
    """

    path: str
    tokens: int
    sha256: str = ""

    @property
    def bytes(self) -> int:
        """Size of the file in bytes."""
        return self.tokens * TOKEN.itemsize


def select(files: dict[str, Shard], source: str, split: str) -> list[Shard]:
    """Returns the shards of a source and split, sorted by name.

    Raises RecipeError if there are none.
    """
    pattern = re.compile(rf"{re.escape(source)}/(\d+/)?{split}-[\d-]+\.bin$")
    selected = [files[path] for path in sorted(files) if pattern.match(path)]
    if not selected:
        raise RecipeError(f"`mixture`: there are no {split} tokens of a source {source}")
    return selected


class TokenFolder:
    """Reads the shards below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = {
            path.relative_to(folder).as_posix(): Shard(
                path.relative_to(folder).as_posix(), path.stat().st_size // TOKEN.itemsize
            )
            for path in folder.rglob("*.bin")
        }

    def sources(self, split: str) -> list[str]:
        """Returns the sorted names of the sources that have a split."""
        return sorted({path.split("/")[0] for path in self._shards if f"/{split}-" in path})

    def shards(self, source: str, split: str) -> list[Shard]:
        """Returns the shards of a source and split; see `select`."""
        return select(self._shards, source, split)

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """Returns `count` token ids (int64) of a shard, from position `start` on."""
        path = self._folder / shard.path
        return np.fromfile(path, TOKEN, count, offset=start * TOKEN.itemsize).astype(np.int64)

    def expect(self, current: list[Shard], upcoming: list[Shard]) -> None:
        """Does nothing, because all shards are in the folder."""

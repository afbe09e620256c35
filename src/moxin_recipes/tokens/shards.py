"""Shards of tokens in a folder, read by position."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moxin_recipes.recipe.strict import RecipeError

TOKEN = np.dtype("<u2")


@dataclass(frozen=True)
class Shard:
    """A file `SOURCE/SPLIT-TASK-NUMBER.bin` of a tokens repository; `sha256` is its name's."""

    path: str
    tokens: int
    sha256: str = ""

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.tokens * TOKEN.itemsize


def select(files: dict[str, Shard], source: str, split: str) -> list[Shard]:
    """The shards of a source and split in the order of their names; none is an error."""
    pattern = re.compile(rf"{re.escape(source)}/{split}-[\d-]+\.bin$")
    found = [files[path] for path in sorted(files) if pattern.match(path)]
    if not found:
        raise RecipeError(f"`mixture`: there are no {split} tokens of a source {source}")
    return found


class TokenFolder:
    """The shards below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = {
            path.relative_to(folder).as_posix(): Shard(
                path.relative_to(folder).as_posix(), path.stat().st_size // TOKEN.itemsize
            )
            for path in folder.glob("*/*.bin")
        }

    def sources(self, split: str) -> list[str]:
        """Names of the sources that have a split, sorted."""
        return sorted({path.split("/")[0] for path in self._shards if f"/{split}-" in path})

    def shards(self, source: str, split: str) -> list[Shard]:
        """The shards of a source and split in the order of their names; none is an error."""
        return select(self._shards, source, split)

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """`count` token ids (int64) of a shard from position `start`."""
        path = self._folder / shard.path
        return np.fromfile(path, TOKEN, count, offset=start * TOKEN.itemsize).astype(np.int64)

    def expect(self, now: list[Shard], later: list[Shard]) -> None:
        """Nothing to do: all of them are here."""

"""Reads shards of tokens in a folder by position."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moxin_recipes.recipe.strict import RecipeError

# An id is 2 bytes where all of a vocabulary fit in them, else 4; the file's name tells which.
NARROW, WIDE = np.dtype("<u2"), np.dtype("<u4")
_ENDS = {NARROW: ".bin", WIDE: ".uint32.bin"}


def dtype_for(vocabulary: int) -> np.dtype:
    """Returns the dtype of the tokens of a vocabulary with so many ids."""
    return NARROW if vocabulary <= 2**16 else WIDE


def file_names(name: str, dtype: np.dtype) -> tuple[str, str]:
    """Returns the files of a shard `SPLIT-TASK-NUMBER`: the index of its documents, its ids."""
    return f"{name}.parquet", name + _ENDS[dtype]


@dataclass(frozen=True)
class Shard:
    """A file `SOURCE/SPLIT-TASK-NUMBER.bin` of a tokens repository, with its sha256 if known.

    Its ids are uint16; those of `SOURCE/SPLIT-TASK-NUMBER.uint32.bin` are uint32. Both are
    little-endian. Where a source has thousands of files they are in sub-folders, `SOURCE/0000/…`.
    """

    path: str
    tokens: int
    sha256: str = ""

    @classmethod
    def of_file(cls, path: str, size: int, sha256: str = "") -> "Shard":
        """Returns the shard of a file of `size` bytes."""
        return cls(path, size // cls(path, 0).dtype.itemsize, sha256)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the ids in the file."""
        return WIDE if self.path.endswith(_ENDS[WIDE]) else NARROW

    @property
    def index(self) -> str:
        """Path of the index of the shard's documents."""
        return self.path.removesuffix(_ENDS[self.dtype]) + ".parquet"

    @property
    def bytes(self) -> int:
        """Size of the file in bytes."""
        return self.tokens * self.dtype.itemsize

    def read(self, file: Path, start: int, count: int) -> np.ndarray:
        """Returns `count` token ids (int64) of the shard's `file`, from position `start` on."""
        offset = start * self.dtype.itemsize
        return np.fromfile(file, self.dtype, count, offset=offset).astype(np.int64)


def of_manifest(manifest: dict[str, Any]) -> dict[str, Shard]:
    """Returns the shards of a tokens repository by their paths."""
    return {
        path: Shard.of_file(path, facts["size"], facts["sha256"])
        for path, facts in manifest["files"].items()
        if path.endswith(".bin")
    }


def select(files: dict[str, Shard], source: str, split: str) -> list[Shard]:
    """Returns the shards of a source and split, sorted by name.

    Raises RecipeError if there are none.
    """
    pattern = re.compile(rf"{re.escape(source)}/(\d+/)?{split}-[\d-]+(\.uint32)?\.bin$")
    selected = [files[path] for path in sorted(files) if pattern.match(path)]
    if not selected:
        raise RecipeError(f"`mixture`: there are no {split} tokens of a source {source}")
    return selected


class TokenFolder:
    """Reads the shards below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards = {
            name: Shard.of_file(name, (folder / name).stat().st_size)
            for name in (path.relative_to(folder).as_posix() for path in folder.rglob("*.bin"))
        }

    def sources(self, split: str) -> list[str]:
        """Returns the sorted names of the sources that have a split."""
        return sorted({path.split("/")[0] for path in self._shards if f"/{split}-" in path})

    def shards(self, source: str, split: str) -> list[Shard]:
        """Returns the shards of a source and split; see `select`."""
        return select(self._shards, source, split)

    def read(self, shard: Shard, start: int, count: int) -> np.ndarray:
        """Returns `count` token ids (int64) of a shard, from position `start` on."""
        return shard.read(self._folder / shard.path, start, count)

    def expect(self, current: list[Shard], upcoming: list[Shard]) -> None:
        """Does nothing, because all shards are in the folder."""

"""The steps of a preparation on the disk: what did not change is not made again.

A step has a folder `NAME-KEY12`. Its key is the digest of all that decides what it writes: the
settings that it reads, the digests of its input files, the number of tasks, and the code. So one
recipe finds what another one made, and a step whose input came out the same is not run either.

    kept/SOURCE/SPLIT/TASK.parquet   the documents after the step; beside each file, its digest
    removed/BLOCK/TASK.parquet       what a block took out, with the reasons
    work/                            signatures and the like; gone when the step is whole
    marks/PART/                      of datatrove: a killed step goes on with the tasks without one
    step.json                        the seal, written last; without it a step is not whole
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers import ParquetReader

from moxin_recipes.documents.columns import Kept, Removed
from moxin_recipes.documents.executors import executor
from moxin_recipes.hub.files import write_json
from moxin_recipes.recipe.keys.data import DocumentKeys
from moxin_recipes.recipe.resume import folder_bytes

log = logging.getLogger(__name__)
SEAL = "step.json"
_OTHER = ("work", "marks")  # folders of a step that nobody reads when it is whole


@dataclass(frozen=True)
class Written:
    """A file of documents: its path below the folder of all steps, and what it holds.

    `bytes` are those of the texts in UTF-8.
    """

    path: str
    documents: int
    bytes: int
    sha256: str

    @property
    def split(self) -> str:
        """`train` or `heldout`."""
        return Path(self.path).parent.name

    @property
    def task(self) -> str:
        """The task that wrote it."""
        return Path(self.path).stem


@dataclass(frozen=True)
class Gone:
    """What a block of a step took out of a source for one reason; `bytes` as in `Written`."""

    block: str
    source: str
    reason: str
    documents: int
    bytes: int


def digest(files: Iterable[Written]) -> str:
    """The sha256 (hex) of what files hold and of how they share it."""
    rows = [(file.split, file.task, file.sha256) for file in files]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Step:
    """One step under one key: what it runs, and what it wrote once it is `whole`.

    `made_here` says whether this process makes it, or found it.
    """

    def __init__(self, root: Path, name: str, reads: Any, keys: DocumentKeys) -> None:
        self.name, self._root, self._reads = name, root, reads
        text = json.dumps([name, keys.tasks, _code(), reads], sort_keys=True, ensure_ascii=False)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = root / f"{name}-{self.key[:12]}"
        self.run = executor(keys, self.folder / "marks")
        self.facts: dict[str, Any] = self._sealed()
        self.made_here = not self.whole
        if self.made_here:
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            log.info("  %s: made before", name)

    @property
    def whole(self) -> bool:
        """Whether the step is done, and all its files are there."""
        return bool(self.facts)

    def _sealed(self) -> dict[str, Any]:
        """The seal; nothing where there is none. Files that are not as it says begin anew."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / SEAL).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        if facts["files"] != self._sizes():
            log.warning("  %s: files of %s are missing; it is made again", self.name, self.folder)
            shutil.rmtree(self.folder)
            return {}
        return facts

    def _sizes(self) -> dict[str, int]:
        """Path below the folder → bytes on the disk, of what a whole step consists of."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and path.name != SEAL
            and path.relative_to(self.folder).parts[0] not in _OTHER
        }

    def end(self, **facts: Any) -> None:
        """The last act of a step: its seal, with more facts for who reads it."""
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        counted = {
            path: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(self.folder.glob("*/**/*.json"))
            if path.with_suffix(".parquet").exists()
        }
        kept = {path for path in counted if (self.folder / "kept") in path.parents}
        self.facts = {
            "step": self.name,
            "key": self.key,
            "reads": self._reads,
            "files": self._sizes(),
            "kept": [self._written(path, of) for path, of in counted.items() if path in kept],
            "removed": [
                [path.parent.name, *row]
                for path, of in counted.items()
                if path not in kept
                for row in of["counts"]
            ],
            **facts,
        }
        write_json(self.folder / SEAL, self.facts)

    def _written(self, path: Path, of: dict[str, Any]) -> dict[str, Any]:
        file = str(path.with_suffix(".parquet").relative_to(self._root))
        documents, size = (sum(row[at] for row in of["counts"]) for at in (2, 3))
        return asdict(Written(file, documents, size, of["sha256"]))

    def kept(self, source: str) -> list[Written]:
        """The files of a source that a whole step wrote, in order."""
        below = f"{self.folder.name}/kept/{source}/"
        files = [Written(**row) for row in self.facts["kept"]]
        return [file for file in files if file.path.startswith(below)]

    def gone(self) -> list[Gone]:
        """What a whole step took out; several tasks have a row each."""
        return [Gone(*row) for row in self.facts["removed"]]

    def work(self, name: str) -> str:
        """A folder for what is needed only until the step is whole."""
        return str(self.folder / "work" / name)

    def reader(self, files: list[Written]) -> PipelineStep:
        """Reads files of other steps; task r of w has those at r, r + w, …"""
        listed = self.folder / "marks" / "reads.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(f"{file.path}\n" for file in files), encoding="utf-8")
        return ParquetReader(str(self._root), paths_file=str(listed))

    def writer(self) -> Kept:
        """Writes the documents that are left."""
        return Kept(str(self.folder / "kept"), "${source}/${split}/${rank}.parquet")

    def removed(self, block: str, reason: str | None = None) -> Removed:
        """Writes the documents that a block takes out."""
        return Removed(str(self.folder / "removed" / block), reason or block)


@cache
def _code() -> str:
    """The digest of the code that makes steps, and of the versions of the libraries in it.

    A text from before another version of a filter is not taken for one after it.
    """
    package = Path(__file__).parent.parent
    rooms = [package / room for room in ("documents", "problems", "tokens")]
    files = sorted(file for room in rooms for file in room.rglob("*.py"))
    used = ("datatrove", "numpy", "pyarrow", "tokenizers", "transformers", "tuetoken", "xxhash")
    made = hashlib.sha256(" ".join(f"{name} {_version(name)}" for name in used).encode())
    for file in files:
        made.update(hashlib.sha256(file.read_bytes()).digest())
    return made.hexdigest()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # one that is not needed everywhere
        return "none"


def keep(root: Path, used: list[Step]) -> tuple[int, float]:
    """Deletes all steps but those that a finished run used; their number, and MB on the disk."""
    names = {step.folder.name for step in used}
    for folder in sorted(root.glob("*")):
        if folder.name not in names:
            shutil.rmtree(folder)
    return len(names), folder_bytes(root) / 1e6

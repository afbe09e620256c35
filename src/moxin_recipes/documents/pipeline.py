"""Raw documents → clean, distinct, decontaminated ones, by steps of datatrove.

read, normalise and filter (a step for each source) → exact → Bloom → MinHash → late filters →
decontamination → tokens. Each step reads the files of the step before and writes
`STEP/SOURCE/SPLIT/TASK`; what it takes out lies in `removed/STEP/REASON/TASK`. Files between the
steps stay until the stage is done: a killed one goes on with the tasks that have no mark.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader

from moxin_recipes.documents import contamination, filters, sources
from moxin_recipes.documents.columns import Kept, Removed
from moxin_recipes.documents.contamination import Item
from moxin_recipes.documents.decontaminate import Decontaminate
from moxin_recipes.documents.dedup.bloom import BloomDedup
from moxin_recipes.documents.dedup.minhash import Signature
from moxin_recipes.documents.executors import executor
from moxin_recipes.documents.normalize import Normalize
from moxin_recipes.hub.pull import Parent, Pull
from moxin_recipes.recipe.keys.data import DocumentKeys, Source
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.step import WriteTokens

Row = dict[str, Any]


def identity(document: Document) -> bytes:
    """What exact duplicates share: the sha256 of the normalised text.

    Bytes, since xxhash 4 hashes no strings and datatrove 0.10.1 would give it one.
    """
    return str(document.id).encode()


class Documents:
    """The documents of a recipe's sources on their way; `files` are those of the last step.

    `folder` is the work space, `pull` gives the folder of a pinned model, `files` maps a source to
    paths below `folder`, `read` to the files of its repository.
    """

    def __init__(self, keys: DocumentKeys, folder: Path, pull: Pull) -> None:
        self.keys, self.folder, self.pull = keys, folder, pull
        self.files: dict[str, list[str]] = {}
        self.read: dict[str, list[str]] = {}
        self._execute = executor(keys, folder / "steps")
        for name in ("minhash", "bloom"):
            if getattr(keys, name) is None and any(name in source.dedup for source in keys.sources):
                raise RecipeError(f"`{name}`: a source names it under `dedup`; give its numbers")

    def _removed(self, step: str, reason: str) -> Removed:
        return Removed(str(self.folder / "removed" / step / reason), reason)

    def _writer(self, step: str) -> Kept:
        return Kept(str(self.folder / step), "${source}/${split}/${rank}.parquet")

    def _reader(self, step: str, files: list[str]) -> ParquetReader:
        listed = self.folder / "steps" / f"{step}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
        return ParquetReader(str(self.folder), paths_file=str(listed))

    def _those_with(self, dedup: str) -> dict[str, list[str]]:
        names = {source.name for source in self.keys.sources if dedup in source.dedup}
        return {name: files for name, files in self.files.items() if name in names and files}

    def _written(self, step: str, names: list[str] | dict[str, list[str]]) -> None:
        """Makes what a step wrote the files of these sources."""
        for name in names:
            written = sorted((self.folder / step / name).glob("*/*.parquet"))
            self.files[name] = [str(file.relative_to(self.folder)) for file in written]

    def clean(
        self, source: Source, parent: Parent | None, seed: int, maths_documents: int = 0
    ) -> None:
        """Reads a source, normalises it and applies its filters, in one pass."""
        step = f"clean-{source.name}"

        def removed(reason: str) -> Removed:
            return self._removed(step, reason)

        reader, self.read[source.name] = sources.reader(
            source, parent, seed, maths_documents, removed
        )
        normalize = Normalize(source.heldout_fraction, exclusion_writer=removed("normalize"))
        blocks = [reader, normalize, *self._filters(step, source, source.filters)]
        self._execute(step, [*blocks, self._writer(step)], self.keys.tasks)
        self._written(step, [source.name])
        if not self.files[source.name]:
            raise RecipeError(
                f"`sources`: no document of {source.name} is left after reading and filtering; "
                f"those taken out are in {self.folder / 'removed' / step}"
            )

    def _filters(self, step: str, source: Source, names: list[Any]) -> Iterator[PipelineStep]:
        for name in names:
            given = filters.Given(source, self.keys, self._removed(step, name), self.pull)
            yield filters.block(name, given)

    def exact(self) -> None:
        """Removes all but one of the documents with the same normalised text."""
        taking = self._those_with("exact")
        if not taking:
            return
        files = [file for files in taking.values() for file in files]
        work, tasks = str(self.folder / "exact-work"), self.keys.tasks
        config = ExactDedupConfig(identity)
        sign = ExactDedupSignature(f"{work}/signatures", config, finder_workers=tasks)
        self._execute("exact-1-signatures", [self._reader("exact", files), sign], tasks)
        find = ExactFindDedups(f"{work}/signatures", f"{work}/duplicates", config)
        self._execute("exact-2-find", [find], tasks)
        drop = ExactDedupFilter(
            f"{work}/duplicates", config, exclusion_writer=self._removed("exact", "duplicate")
        )
        blocks = [self._reader("exact", files), drop, self._writer("exact")]
        self._execute("exact-3-filter", blocks, tasks)
        self._written("exact", taking)

    def bloom(self) -> None:
        """Removes paragraphs and documents that repeat what a task has read before."""
        taking, given = self._those_with("bloom"), self.keys.bloom
        if not taking or given is None:
            return
        files = [file for files in taking.values() for file in files]
        block = BloomDedup(
            given.ngrams,
            given.threshold,
            given.capacity,
            given.false_positives,
            self._removed("bloom", "repeated"),
        )
        blocks = [self._reader("bloom", files), block, self._writer("bloom")]
        self._execute("bloom", blocks, self.keys.tasks)
        self._written("bloom", taking)

    def minhash(self) -> None:
        """Removes all but one of each cluster of near duplicates, within and across sources."""
        taking, given = self._those_with("minhash"), self.keys.minhash
        if not taking or given is None:
            return
        files = [file for files in taking.values() for file in files]
        work, tasks = str(self.folder / "minhash-work"), self.keys.tasks
        config = MinhashConfig(given.ngrams, given.buckets, given.hashes)
        sign = Signature(f"{work}/signatures", config, given.unit == "characters")
        self._execute("minhash-1-signatures", [self._reader("minhash", files), sign], tasks)
        buckets = MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config)
        self._execute("minhash-2-buckets", [buckets], given.buckets)
        cluster = MinhashDedupCluster(f"{work}/buckets", f"{work}/clusters", config)
        self._execute("minhash-3-clusters", [cluster], 1)
        drop = MinhashDedupFilter(f"{work}/clusters", self._removed("minhash", "near duplicate"))
        blocks = [self._reader("minhash", files), drop, self._writer("minhash")]
        self._execute("minhash-4-filter", blocks, tasks)
        self._written("minhash", taking)

    def late(self, source: Source) -> None:
        """Applies the filters that come after deduplication."""
        if not source.late_filters:
            return
        step = f"late-{source.name}"
        blocks = [
            self._reader(step, self.files[source.name]),
            *self._filters(step, source, source.late_filters),
            self._writer(step),
        ]
        self._execute(step, blocks, self.keys.tasks)
        self._written(step, [source.name])

    def decontaminate(self, items: Iterable[Item]) -> None:
        """Removes training documents that hold evaluation items; held-out ones stay as they are.

        `items` is read only if there is no index yet.
        """
        index = self.folder / "contamination"
        if not (index / "items.parquet").exists():
            contamination.write_index(items, index)
        training = [
            file
            for files in self.files.values()
            for file in files
            if Path(file).parent.name == "train"
        ]
        drop = Decontaminate(
            str(index),
            str(self.folder / "hits"),
            exclusion_writer=self._removed("decontaminate", "contaminated"),
        )
        blocks = [
            self._reader("decontaminate", training), drop, self._writer("decontaminate")
        ]  # fmt: skip
        self._execute("decontaminate", blocks, self.keys.tasks)
        for name, before in list(self.files.items()):
            self._written("decontaminate", [name])
            self.files[name] += [file for file in before if Path(file).parent.name == "heldout"]

    def tokens(self, source: str, tokenizer: Path, shard_tokens: int) -> Path:
        """Writes the training documents of a source as shards of tokens; the folder they are in.

        `tokenizer` is a folder with a saved one. Another one than before is another step.
        """
        made_by = hashlib.sha256((tokenizer / "tokenizer.json").read_bytes()).hexdigest()[:12]
        folder = self.folder / "tokens" / made_by / source
        training = [file for file in self.files[source] if Path(file).parent.name == "train"]
        step = f"tokens-{made_by}-{source}"
        write = WriteTokens(folder, "train", tokenizer, shard_tokens)
        if training:
            self._execute(step, [self._reader(step, training), write], self.keys.tasks)
        return folder

    def rows(self, source: str, split: str) -> Iterator[Row]:
        """The documents of a source and split as they are now, in order."""
        for file in self.files[source]:
            if Path(file).parent.name == split:
                yield from rows(self.folder / file)


def rows(file: Path) -> Iterator[Row]:
    """The rows of a parquet file, a batch at a time."""
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=1000):
            yield from batch.to_pylist()


def cut(documents: Iterator[Row], size: int) -> Iterator[Row]:
    """The first `size` bytes of text, as documents; the last one is cut."""
    for document in documents:
        text = document["text"].encode()[:size].decode(errors="ignore")
        size -= len(text.encode())
        if text:
            yield {**document, "text": text}
        if size <= 0:
            return

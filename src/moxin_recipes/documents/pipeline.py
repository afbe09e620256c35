"""Raw documents → clean, distinct, decontaminated ones, by steps of datatrove.

read, normalise and filter (a step for each source) → exact → Bloom → MinHash → late filters →
decontamination → tokens (steps for each source again). A step reads the files of the steps before
it; what it writes stays, and is found by the next run that asks for the same (`steps.py`).
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
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

from moxin_recipes.documents import contamination, filters, local, sources, steps
from moxin_recipes.documents.contamination import Item
from moxin_recipes.documents.decontaminate import Decontaminate
from moxin_recipes.documents.dedup.bloom import BloomDedup
from moxin_recipes.documents.dedup.minhash import Signature
from moxin_recipes.documents.normalize import Normalize
from moxin_recipes.documents.steps import Step, Written, digest
from moxin_recipes.hub.manifest import sha256_file
from moxin_recipes.hub.pull import Parent, Pull
from moxin_recipes.recipe.keys.data import DocumentKeys, Source
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.step import WriteTokens

log = logging.getLogger(__name__)
Row = dict[str, Any]
# What decides the ids of a text, of all that a saved tokenizer consists of.
_TOKENIZER = ("*token*.json", "*.model", "vocab.*", "merges.txt")


def identity(document: Document) -> bytes:
    """What exact duplicates share: the sha256 of the normalised text.

    Bytes, since xxhash 4 hashes no strings and datatrove 0.10.1 would give it one.
    """
    return str(document.id).encode()


class Documents:
    """The documents of a recipe's sources on their way; `files` are those of the last step.

    `folder` holds the steps. `pull` and `parent` give the folder and the commit of an input by its
    key. `steps` are those of this run in their order; `read` has the files of each source's
    repository that were read.
    """

    def __init__(
        self, keys: DocumentKeys, folder: Path, pull: Pull, parent: Callable[[str], Parent]
    ) -> None:
        self.keys, self.folder, self.pull, self.parent = keys, folder, pull, parent
        self.files: dict[str, list[Written]] = {}
        self.read: dict[str, list[str]] = {}
        self.steps: list[Step] = []
        for name in ("minhash", "bloom"):
            if getattr(keys, name) is None and any(name in source.dedup for source in keys.sources):
                raise RecipeError(f"`{name}`: a source names it under `dedup`; give its numbers")

    def _step(self, name: str, *reads: Any) -> Step:
        step = Step(self.folder, name, reads, self.keys)
        self.steps.append(step)
        return step

    def _with(self, dedup: str) -> dict[str, list[Written]]:
        names = {source.name for source in self.keys.sources if dedup in source.dedup}
        return {name: files for name, files in self.files.items() if name in names and files}

    def clean(
        self, source: Source, pinned: Parent | None, seed: int, maths_documents: int = 0
    ) -> None:
        """Reads a source, normalises it and applies its filters, in one pass."""
        if pinned is None:
            texts = local.identity(source.name, seed, maths_documents)
        else:
            texts = [pinned.payload, seed if source.file_share < 1 else None]
        settings = self._settings(source, "filters", "late_filters")
        step = self._step(f"clean-{source.name}", settings, texts)
        if not step.whole:
            reader, read = sources.reader(source, pinned, seed, maths_documents, step.removed)
            normalize = Normalize(
                source.heldout_fraction, exclusion_writer=step.removed("normalize")
            )
            blocks = [reader, normalize, *self._filters(step, source, source.filters)]
            step.run(step.name, [*blocks, step.writer()], self.keys.tasks)
            step.end(read=read)
        self.read[source.name] = step.facts["read"]
        self.files[source.name] = step.kept(source.name)

    def _settings(self, source: Source, applied: str, other: str) -> Row:
        """What a recipe says of a source and of the models of the filters that are applied.

        Of what is read from the Hub the digest counts, not the name.
        """
        models = {}
        for name in getattr(source, applied):
            if model := getattr(self.keys, name, None):
                models[name] = {**asdict(model), "model": self.parent(name).payload}
        left = ("dataset", "dedup", other)
        return {name: v for name, v in asdict(source).items() if name not in left} | models

    def _filters(self, step: Step, source: Source, names: list[Any]) -> Iterator[PipelineStep]:
        for name in names:
            yield filters.block(
                name, filters.Given(source, self.keys, step.removed(name), self.pull)
            )

    def _deduplicated(
        self, name: str, settings: Any, run: Callable[[Step, list[Written]], None]
    ) -> None:
        """A step over all sources that name it, and over no others."""
        taking = self._with(name)
        if not taking:
            return
        step = self._step(name, settings, [[of, digest(files)] for of, files in taking.items()])
        if not step.whole:
            run(step, [file for files in taking.values() for file in files])
            step.end()
        for of in taking:
            self.files[of] = step.kept(of)

    def exact(self) -> None:
        """Removes all but one of the documents with the same normalised text."""

        def run(step: Step, files: list[Written]) -> None:
            tasks, config = self.keys.tasks, ExactDedupConfig(identity)
            signatures, duplicates = step.work("signatures"), step.work("duplicates")
            sign = ExactDedupSignature(signatures, config, finder_workers=tasks)
            step.run("exact-1-signatures", [step.reader(files), sign], tasks)
            step.run("exact-2-find", [ExactFindDedups(signatures, duplicates, config)], tasks)
            removed = step.removed("exact", "duplicate")
            drop = ExactDedupFilter(duplicates, config, exclusion_writer=removed)
            step.run("exact-3-filter", [step.reader(files), drop, step.writer()], tasks)

        self._deduplicated("exact", None, run)

    def bloom(self) -> None:
        """Removes paragraphs and documents that repeat what a task has read before."""
        given = self.keys.bloom
        if given is None:
            return

        def run(step: Step, files: list[Written]) -> None:
            numbers = (given.ngrams, given.threshold, given.capacity, given.false_positives)
            block = BloomDedup(*numbers, step.removed("bloom", "repeated"))
            step.run("bloom", [step.reader(files), block, step.writer()], self.keys.tasks)

        self._deduplicated("bloom", asdict(given), run)

    def minhash(self) -> None:
        """Removes all but one of each cluster of near duplicates, within and across sources."""
        given = self.keys.minhash
        if given is None:
            return

        def run(step: Step, files: list[Written]) -> None:
            tasks, config = (
                self.keys.tasks,
                MinhashConfig(given.ngrams, given.buckets, given.hashes),
            )
            signatures, buckets, clusters = map(step.work, ("signatures", "buckets", "clusters"))
            sign = Signature(signatures, config, given.unit == "characters")
            step.run("minhash-1-signatures", [step.reader(files), sign], tasks)
            part = [MinhashDedupBuckets(signatures, buckets, config=config)]
            step.run("minhash-2-buckets", part, given.buckets)
            step.run("minhash-3-clusters", [MinhashDedupCluster(buckets, clusters, config)], 1)
            drop = MinhashDedupFilter(clusters, step.removed("minhash", "near duplicate"))
            step.run("minhash-4-filter", [step.reader(files), drop, step.writer()], tasks)

        self._deduplicated("minhash", asdict(given), run)

    def late(self, source: Source) -> None:
        """Applies the filters that come after deduplication."""
        files = self.files[source.name]
        if not source.late_filters or not files:
            return
        settings = self._settings(source, "late_filters", "filters")
        step = self._step(f"late-{source.name}", settings, digest(files))
        if not step.whole:
            filtered = self._filters(step, source, source.late_filters)
            blocks = [step.reader(files), *filtered, step.writer()]
            step.run(step.name, blocks, self.keys.tasks)
            step.end()
        self.files[source.name] = step.kept(source.name)

    def look_for(self, items: Iterable[Item], *reads: Any) -> Step:
        """The step with the index of evaluation items; `reads` is what decides which they are."""
        step = self._step("evaluation-items", *reads)
        if not step.whole:
            if not (step.folder / "index").exists():  # it is written whole
                contamination.write_index(items, step.folder / "index")
            names = ("index.npz", "texts.parquet")
            step.end(digests=[sha256_file(step.folder / "index" / name) for name in names])
        return step

    def decontaminate(self, source: Source, items: Step) -> None:
        """Removes training documents that hold evaluation items; held-out ones stay as they are."""
        training = self.training(source.name)
        rest = [file for file in self.files[source.name] if file not in training]
        if not training:
            return
        name = f"decontaminate-{source.name}"
        step = self._step(name, digest(training), items.facts["digests"])
        if not step.whole:
            drop = Decontaminate(
                str(items.folder / "index"),
                str(step.folder / "hits"),
                exclusion_writer=step.removed("decontaminate", "contaminated"),
            )
            step.run(name, [step.reader(training), drop, step.writer()], self.keys.tasks)
            step.end()
        self.files[source.name] = step.kept(source.name) + rest

    def tokens(self, source: str, tokenizer: Path, shard_tokens: int) -> Path:
        """Writes the training documents of a source as shards of tokens; the folder they are in.

        `tokenizer` is a folder with a saved one. Another one than before is another step.
        """
        saved = sorted({file for pattern in _TOKENIZER for file in tokenizer.glob(pattern)})
        digests = [[file.name, sha256_file(file)] for file in saved]
        training = self.training(source)
        step = self._step(f"tokens-{source}", digest(training), digests, shard_tokens)
        if not step.whole:
            write = WriteTokens(step.folder / "tokens", "train", tokenizer, shard_tokens)
            step.run(step.name, [step.reader(training), write], self.keys.tasks)
            step.end()
        return step.folder / "tokens"

    def forget_others(self) -> None:
        """Deletes the steps that this run did not use; says how much those take that it did."""
        count, size = steps.keep(self.folder, self.steps)
        if count:
            log.info("%s keeps %d steps for the next run, %.1f MB", self.folder, count, size)

    def training(self, source: str) -> list[Written]:
        """The files of a source that are trained on."""
        return [file for file in self.files[source] if file.split == "train"]

    def heldout_digest(self) -> str:
        """The digest of the held-out documents of all sources."""
        held = {
            source: digest(rest)
            for source, files in self.files.items()
            if (rest := [file for file in files if file.split == "heldout"])
        }
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def rows(self, source: str, split: str) -> Iterator[Row]:
        """The documents of a source and split as they are now, in order."""
        for file in self.files[source]:
            if file.split == split:
                yield from rows(self.folder / file.path)


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

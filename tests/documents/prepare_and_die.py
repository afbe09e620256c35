"""Every step of the preparation on a little text; killed with SIGKILL where the test says.

    python -m tests.documents.prepare_and_die FOLDER [STEP begin|end]

`begin`: half a file of the step is written (of tokens: half of the second one). `end`: all is
written, the task has no mark yet.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from datatrove.io import DataFolder

from moxin_recipes.documents.contamination import Item
from moxin_recipes.documents.executors import Local
from moxin_recipes.documents.pipeline import Documents, cut
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.evaluation_sets import EvaluationSet
from moxin_recipes.recipe.keys.data import Bloom, DocumentKeys, Minhash, Source
from moxin_recipes.tokens.write import _Shards as Shards
from moxin_recipes.tokens.write import train_tokenizer

STEPS = (
    "clean-pydoc-topics",
    "clean-maths-text",
    "exact-1-signatures",
    "exact-2-find",
    "exact-3-filter",
    "bloom",
    "minhash-1-signatures",
    "minhash-2-buckets",
    "minhash-3-clusters",
    "minhash-4-filter",
    "late-pydoc-topics",
    "decontaminate-pydoc-topics",
    "tokens-maths-text",
)
SHARD_TOKENS = 2_000  # several files a task
OWN = DocumentKeys(
    sources=[
        Source(
            name="pydoc-topics",
            heldout_fraction=0.2,
            dedup=["exact", "bloom", "minhash"],
            late_filters=["lines", "gopher_repetition"],
        ),
        Source(name="maths-text", filters=[], heldout_fraction=0.0),
    ],
    minhash=Minhash(unit="words", ngrams=1, buckets=4, hashes=2),
    bloom=Bloom(ngrams=13, threshold=0.8, capacity=100_000, false_positives=0.01),
    decontaminate=[EvaluationSet(name="heldout", dataset="heldout")],
    tasks=2,
    workers=int(os.environ.get("MOXIN_TEST_WORKERS", "1")),
)


def die_in(step: str, when: str) -> None:
    """Puts the kill where a file of the step is opened, or where its last task is marked."""
    running: list[str] = []
    run, opened, mark = Local.run, DataFolder.open, Local.mark_rank_as_completed
    append = Shards._append

    def noted(self: Local) -> None:
        running[:] = [Path(self.logging_dir.path).name]
        run(self)

    def half_a_file(self: DataFolder, path: str, mode: str = "rb", **more: Any) -> Any:
        made = opened(self, path, mode=mode, **more)
        ours = "/marks/" not in str(self.path) + "/"
        if running == [step] and when == "begin" and "w" in mode and ours:
            made.write(b"half" if "b" in mode else "half")
            made.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    def marked(self: Local, rank: int) -> None:
        if running == [step] and when == "end" and rank == self.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        mark(self, rank)

    def half_of_the_second(self: Shards, part: bytes, tokens: int) -> None:
        if running == [step] and when == "begin" and self._number == 1:
            self._files[1].write(part[: len(part) // 2])
            self._files[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, part, tokens)

    Local.run, DataFolder.open, Local.mark_rank_as_completed = noted, half_a_file, marked
    Shards._append = half_of_the_second


def not_pinned(key: str) -> Parent:
    raise AssertionError(key)  # all text is of this machine


def prepare(folder: Path, keys: DocumentKeys = OWN) -> dict[str, str]:
    """Runs all steps; the sha256 of each file that goes to the Hub, and of what was removed."""
    documents = Documents(keys, folder / "steps", lambda key, patterns: folder, not_pinned)
    for source in keys.sources:
        documents.clean(source, None, seed=0, maths_documents=400)
    documents.exact()
    documents.bloom()
    documents.minhash()
    for source in keys.sources:
        documents.late(source)
    rows = cut(documents.rows("pydoc-topics", "train"), 30_000)  # so that some are found
    items = (Item("heldout", row["id"], [row["text"]]) for row in rows)
    index = documents.look_for(items)
    for source in keys.sources:
        documents.decontaminate(source, index)
    texts = [row["text"] for row in documents.rows("pydoc-topics", "train")]
    train_tokenizer(texts, 400).save_pretrained(folder / "tokenizer")
    for source in keys.sources:
        documents.tokens(source.name, folder / "tokenizer", SHARD_TOKENS)
    return written(documents)


def written(documents: Documents) -> dict[str, str]:
    """The sha256 of each file of documents, of what was removed and found, and of tokens."""
    files = [documents.folder / file.path for of in documents.files.values() for file in of]
    for step in documents.steps:
        for name in ("removed", "hits", "tokens"):
            files += sorted(path for path in (step.folder / name).rglob("*") if path.is_file())
    return {
        str(file.relative_to(documents.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


if __name__ == "__main__":
    if sys.argv[2:]:
        die_in(*sys.argv[2:])
    sys.stdout.write(json.dumps(prepare(Path(sys.argv[1]))))

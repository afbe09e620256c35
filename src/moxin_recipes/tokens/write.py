"""Writes documents as tokens in shards, each with a digest and an index of its documents.

A shard `SOURCE/SPLIT-TASK-NUMBER.bin` is a stream of whole documents, framed as framing.py says;
the `.parquet` of the same name lists them.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens import vocabulary
from moxin_recipes.tokens.encode import Encode, proven
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import dtype_for, file_names

if TYPE_CHECKING:  # transformers takes seconds to load, and readers of tokens do without
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")

LONGEST = 4096  # tokens: the longest context of both ladders; the card gives its fill rate
_BATCH_CHARACTERS = 1_000_000
_INDEX_ROWS = 10_000  # documents in a row group
_INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("origin", pa.string()),
        ("start", pa.int64()),  # position in the shard
        ("tokens", pa.int64()),  # its marks included
        ("bytes", pa.int64()),  # length of the text in UTF-8
    ]
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """Trains byte-level BPE of `vocab_size` pieces; digits stay single, every byte has a piece."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


class _Shards:
    """Writes shards one after another.

    Each file gets a temporary name, is synced and is then renamed; the stream comes last.
    """

    def __init__(self, folder: Path, prefix: str, shard_tokens: int, dtype: np.dtype) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in (*folder.glob(f"{prefix}-*"), *folder.glob(f".{prefix}-*")):
            stale.unlink()  # a killed run left it; this run writes all shards again
        self._folder, self._prefix, self._size = folder, prefix, shard_tokens
        self._number, self._dtype = 0, dtype
        self._open = False

    def _begin(self) -> None:
        names = file_names(f"{self._prefix}-{self._number:05d}", self._dtype)
        self._paths = [self._folder / name for name in names]
        self._files = [path.with_name(f".{path.name}.tmp").open("wb") for path in self._paths]
        self._index = pq.ParquetWriter(self._files[0], _INDEX, compression="zstd")
        self._digest, self._tokens, self._bytes = hashlib.sha256(), 0, 0
        self._open = True
        self._rows: list[tuple[str, str, int, int, int]] = []

    def add(
        self, documents: list[dict[str, Any]], sizes: list[int], ids: np.ndarray, ends: np.ndarray
    ) -> None:
        """Appends documents of `sizes` bytes; the ids of document i end at `ends[i]` in `ids`."""
        first = 0
        while first < len(documents):
            if not self._open:
                self._begin()
            before = int(ends[first - 1]) if first else 0
            # Up to the document that fills the shard, or the last one.
            full = int(np.searchsorted(ends, before + self._size - self._tokens))
            last = min(full + 1, len(documents))
            start = before
            for at in range(first, last):
                row = (documents[at]["id"], documents[at]["origin"])
                count = int(ends[at]) - start
                self._rows.append((*row, self._tokens + start - before, count, sizes[at]))
                start = int(ends[at])
            self._bytes += sum(sizes[first:last])
            self._append(ids[before:start].tobytes(), start - before)
            first = last

    def _append(self, part: bytes, tokens: int) -> None:
        self._files[1].write(part)
        self._digest.update(part)
        self._tokens += tokens
        if len(self._rows) >= _INDEX_ROWS:
            self._write_rows()
        if self._tokens >= self._size:
            self.end()

    def _write_rows(self) -> None:
        columns = zip(*self._rows, strict=True)
        self._index.write_table(pa.table(list(map(pa.array, columns)), schema=_INDEX))
        self._rows = []

    def end(self) -> None:
        """Closes the open shard, if there is one."""
        if not self._open:
            return
        if self._rows:
            self._write_rows()
        facts = {
            "tokens": str(self._tokens),
            "bytes": str(self._bytes),
            "sha256": self._digest.hexdigest(),
        }
        self._index.add_key_value_metadata(facts)
        self._index.close()
        for file, path in zip(self._files, self._paths, strict=True):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).replace(path)
        self._number, self._open = self._number + 1, False


def write_tokens(
    folder: Path,
    split: str,
    documents: Iterable[dict[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    shard_tokens: int,
    task: int = 0,
) -> dict[str, int]:
    """Writes shards of `shard_tokens` tokens or a little more; returns the counts of `counted`.

    `documents` have `text`, `id` and `origin`; no document is split. Several tasks may write the
    same source at the same time. Without documents nothing is written, because no client could
    load an empty index. Raises RecipeError if a text has half of a surrogate pair, or if the
    tokenizer has no mark for documents.
    """
    framing = Framing.of(tokenizer, "tokenizer_name_or_path")
    dtype = dtype_for(vocabulary.size(tokenizer))
    shards = _Shards(folder, f"{split}-{task:05d}", shard_tokens, dtype)
    encode: Encode | None = None
    for batch in _batches(documents):
        texts = [document["text"] for document in batch]
        sizes = [_bytes(document) for document in batch]
        if encode is None:
            marks = " ".join(tokenizer.all_special_tokens)
            encode = proven(tokenizer.backend_tokenizer, [marks, *texts])
        ids, counts = encode(texts)
        framed, ends = framing.framed(ids, counts, dtype)
        shards.add(batch, sizes, framed, ends)
    shards.end()
    return counted(folder, f"{split}-{task:05d}")


def counted(folder: Path, prefix: str) -> dict[str, int]:
    """Adds up the counts in the indexes of a split's shards, or of one task's (`train-00003`).

    The counts are `documents`, `tokens`, `bytes` and `in_sequences`: the tokens in whole sequences
    of `LONGEST`.
    """
    counts = Counter(documents=0, tokens=0, bytes=0, in_sequences=0)
    for path in folder.glob(f"{prefix}-*.parquet"):
        index = pq.read_metadata(path)
        tokens, size = (int(index.metadata[name]) for name in (b"tokens", b"bytes"))
        in_sequences = tokens // LONGEST * LONGEST
        counts.update(
            documents=index.num_rows, tokens=tokens, bytes=size, in_sequences=in_sequences
        )
    return dict(counts)


def card_notes(counts: dict[str, int]) -> list[str]:
    """Returns lines for the card, a table of all sources, from counts `SOURCE/SPLIT/STATISTIC`."""
    rows = [
        "## Sources\n",
        f"| source | documents | tokens | bytes a token | fill rate at {LONGEST:,} |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in sorted({key.rpartition("/")[0] for key in counts}):
        documents, tokens, size, in_sequences = (
            counts[f"{name}/{statistic}"]
            for statistic in ("documents", "tokens", "bytes", "in_sequences")
        )
        if tokens:
            rows.append(
                f"| {name} | {documents:,} | {tokens:,} | {size / tokens:.3f} | "
                f"{in_sequences / tokens:.4f} |"
            )
    return [
        *rows,
        "\nSequences are cut from the stream without padding; the fill rate is the share of tokens "
        "in whole sequences, as the rest at the end of a file is not read.\n",
    ]


def _batches(documents: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch, characters = [], 0
    for document in documents:
        batch.append(document)
        characters += len(document["text"])
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _bytes(document: dict[str, Any]) -> int:
    try:
        return len(document["text"].encode())
    except UnicodeEncodeError as error:
        raise RecipeError(
            f"`sources`: the document {document['origin']} has half of a surrogate pair, which no "
            "tokenizer takes; clean it first"
        ) from error

"""Text → uint16 tokens in memory-mapped shards, with an index of documents.

A source is one stream `<s> text </s> <s> text </s> …`, cut into files of equal length
(`SOURCE/SPLIT-00000.bin`); `SOURCE/SPLIT.parquet` lists the documents. `<s>` stands at the start
of each document and nowhere else (a literal `<s>` in a text is encoded as ordinary text), so the
stream alone tells where documents begin.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from moxin_recipes.strict import RecipeError

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
TOKEN = np.dtype("<u2")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `vocab_size` pieces; digits stay single, every byte has a piece."""
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


def write_tokens(
    folder: Path,
    split: str,
    documents: Iterable[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    shard_tokens: int,
) -> dict[str, int]:
    """Writes one source's stream and index; counts of documents, tokens and UTF-8 bytes.

    Without a document nothing is written: no client could load an empty index.
    """
    if len(tokenizer) > 2**16:
        raise ValueError(f"a vocabulary of {len(tokenizer)} does not fit uint16")
    folder.mkdir(parents=True, exist_ok=True)
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    index: dict[str, list[Any]] = {"id": [], "start": [], "tokens": [], "bytes": [], "origin": []}
    pending: list[int] = []
    shard = start = 0
    for document in documents:
        ids = [bos, *backend.encode(document["text"], add_special_tokens=False).ids, eos]
        for name, value in (
            ("id", document["id"]),
            ("start", start),
            ("tokens", len(ids)),
            ("bytes", len(document["text"].encode())),
            ("origin", document["origin"]),
        ):
            index[name].append(value)
        start += len(ids)
        pending += ids
        while len(pending) >= shard_tokens:
            np.array(pending[:shard_tokens], TOKEN).tofile(folder / f"{split}-{shard:05d}.bin")
            pending, shard = pending[shard_tokens:], shard + 1
    backend.encode_special_tokens = False
    if pending:
        np.array(pending, TOKEN).tofile(folder / f"{split}-{shard:05d}.bin")
    if not index["id"]:
        return {"documents": 0, "tokens": 0, "bytes": 0}
    types = {"id": pa.string(), "origin": pa.string()}
    columns = {k: pa.array(v, types.get(k, pa.int64())) for k, v in index.items()}
    pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return {"documents": len(index["id"]), "tokens": start, "bytes": sum(index["bytes"])}


class TokenStream:
    """Memory-mapped tokens of one source and split, read by position."""

    def __init__(self, folder: Path, split: str) -> None:
        paths = sorted(folder.glob(f"{split}-*.bin"))
        if not paths:
            raise RecipeError(f"`mixture`: there are no {split} tokens of a source {folder.name}")
        self._shards = [
            np.memmap(path, TOKEN, "r") if path.stat().st_size else np.empty(0, TOKEN)
            for path in paths
        ]
        self._shard_tokens = max(1, len(self._shards[0]))

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def read(self, start: int, count: int) -> np.ndarray:
        """`count` token ids (int64) from position `start`."""
        parts = []
        while count:
            shard, offset = divmod(start, self._shard_tokens)
            part = self._shards[shard][offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts).astype(np.int64)


def packed(ids: np.ndarray, bos: int) -> dict[str, np.ndarray]:
    """A window of a stream as model inputs: (length,) ids, labels and positions, int64.

    Positions start again at each document, which is what isolates documents in attention; the
    first token of a document is no label, so nothing is predicted across a boundary.
    """
    starts = ids == bos
    starts[0] = True  # nothing stands before it, so nothing predicts it
    at = np.arange(len(ids))
    first = np.maximum.accumulate(np.where(starts, at, 0))
    labels = np.where(starts, -100, ids)
    return {"input_ids": ids, "labels": labels, "position_ids": at - first}


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """UTF-8 bytes behind each token id (vocabulary,); 0 for special tokens."""
    lengths = np.zeros(len(tokenizer), np.int64)
    special = set(tokenizer.all_special_ids)
    byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
    for piece, token in tokenizer.get_vocab().items():
        if token in special:
            continue
        if byte_level:
            lengths[token] = len(piece)  # one character of the byte alphabet is one byte
        elif len(piece) == 6 and piece.startswith("<0x"):
            lengths[token] = 1
        else:
            lengths[token] = len(piece.replace("▁", " ").encode())
    return lengths

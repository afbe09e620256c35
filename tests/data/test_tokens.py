"""Tokenizer and shards: every text comes back, marks in a text stay text."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from moxin_recipes.data.tokens import TokenStream, token_bytes, train_tokenizer, write_tokens

TEXTS = ["def f(x):\n    return x + 12\n" * 20, "Größe, naïve — 数学 🙂 " * 20]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 320).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    text = text.encode(errors="ignore").decode()
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    ids = backend.encode(text, add_special_tokens=False).ids
    backend.encode_special_tokens = False
    assert tokenizer.decode(ids) == text
    assert token_bytes(tokenizer)[ids].sum() == len(text.encode())


def test_digits_stay_single(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("2024") == ["2", "0", "2", "4"]


def test_shards_and_index(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    texts = ["one </s> <s> two", *TEXTS]
    documents = [{"text": t, "id": str(i), "origin": "here"} for i, t in enumerate(texts)]
    counts = write_tokens(tmp_path, "train", documents, tokenizer, shard_tokens=64)
    stream = TokenStream(tmp_path, "train")
    assert len(list(tmp_path.glob("train-*.bin"))) > 1
    assert len(stream) == counts["tokens"]
    ids = stream.read(0, len(stream))
    starts = np.flatnonzero(ids == tokenizer.bos_token_id)
    index = pq.read_table(tmp_path / "train.parquet").to_pydict()
    assert starts.tolist() == index["start"]  # a literal <s> in a text is no start
    for text, start, count in zip(texts, index["start"], index["tokens"], strict=True):
        part = stream.read(start, count)
        assert part[0] == tokenizer.bos_token_id
        assert part[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(part[1:-1]) == text
    assert counts["bytes"] == sum(len(text.encode()) for text in texts)

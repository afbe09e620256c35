"""Tokenizers and shards: every text comes back, marks in a text stay text, nothing half-written."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens import encode
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.step import WriteTokens
from moxin_recipes.tokens.vocabulary import token_bytes
from moxin_recipes.tokens.write import (
    card_notes,
    counted,
    train_tokenizer,
    write_tokens,
)

TEXTS = ["def f(x):\n    return x + 12\n" * 20, "Größe, naïve — 数学 🙂 " * 20]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 320).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def documents(texts: list[str]) -> list[dict[str, Any]]:
    return [{"text": text, "id": str(i), "origin": f"here/{i}"} for i, text in enumerate(texts)]


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    text = text.encode(errors="ignore").decode()
    ids = encode.reference(tokenizer.backend_tokenizer)([text])[0]
    assert tokenizer.decode(ids) == text
    assert token_bytes(tokenizer)[ids].sum() == len(text.encode())


def test_digits_stay_single(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("2024") == ["2", "0", "2", "4"]


def test_shards_hold_whole_documents_and_their_index(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = ["one </s> <s> two", *TEXTS, "", "a" * 300, "end"]
    counts = write_tokens(tmp_path / "s", "train", documents(texts), tokenizer, shard_tokens=64)
    folder = TokenFolder(tmp_path)
    shards = folder.shards("s", "train")
    assert len(shards) > 2
    documents_read = []
    for shard in shards:
        ids = folder.read(shard, 0, shard.tokens)
        index = pq.read_table((tmp_path / shard.path).with_suffix(".parquet"))
        rows = index.to_pylist()
        starts = np.flatnonzero(ids == tokenizer.bos_token_id)
        assert starts.tolist() == [row["start"] for row in rows]  # a literal <s> is no start
        content = (tmp_path / shard.path).read_bytes()
        noted = pq.read_metadata((tmp_path / shard.path).with_suffix(".parquet")).metadata
        assert noted[b"sha256"].decode() == hashlib.sha256(content).hexdigest()
        assert int(noted[b"tokens"]) == shard.tokens == len(content) // 2
        for row in rows:
            part = folder.read(shard, row["start"], row["tokens"])
            assert (part[0], part[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
            documents_read.append(
                (row["id"], row["origin"], tokenizer.decode(part[1:-1]), row["bytes"])
            )
    assert documents_read == [
        (str(i), f"here/{i}", t, len(t.encode())) for i, t in enumerate(texts)
    ]
    assert counts["documents"] == len(texts)
    assert counts["tokens"] == sum(shard.tokens for shard in shards)
    assert counts["bytes"] == sum(len(text.encode()) for text in texts)
    notes = card_notes({f"s/train/{statistic}": number for statistic, number in counts.items()})
    assert notes[3].startswith(f"| s/train | {len(texts)} | {counts['tokens']:,} | ")


def test_tasks_write_side_by_side_and_a_repeated_one_leaves_nothing_of_before(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    write_tokens(tmp_path, "train", documents(TEXTS), tokenizer, 64, task=1)
    (tmp_path / ".train-00000-00007.bin.tmp").write_bytes(b"half")
    (tmp_path / "train-00000-00009.bin").write_bytes(b"older")
    write_tokens(tmp_path, "train", documents(TEXTS), tokenizer, 10**6, task=0)
    assert sorted(path.name for path in tmp_path.glob("*.bin")) == [
        "train-00000-00000.bin",
        "train-00001-00000.bin",
        "train-00001-00001.bin",
    ]
    assert not list(tmp_path.glob(".*"))
    assert write_tokens(tmp_path / "none", "train", [], tokenizer, 64)["documents"] == 0
    assert not list((tmp_path / "none").iterdir())


def test_tasks_of_datatrove_write_what_one_process_writes(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = documents([f"{i} {'x' * (i % 97)}" for i in range(300)])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    step = WriteTokens(tmp_path / "two" / "s", "train", tmp_path / "tokenizer", 2000)
    for task in (0, 1, 1):  # the second one was killed behind its last file, and runs again
        task_documents = (
            Document(text=row["text"], id=row["id"], metadata={"origin": row["origin"]})
            for row in rows[task::2]
        )
        assert list(step.run(task_documents, task, 2)) == []
    one_task = write_tokens(tmp_path / "one" / "s", "train", rows, tokenizer, 10**9)
    together = counted(tmp_path / "two" / "s", "train")
    assert {**together, "in_sequences": 0} == {**one_task, "in_sequences": 0}
    index = [pq.read_table(path) for path in (tmp_path / "two" / "s").glob("*.parquet")]
    assert sorted(i for table in index for i in table["id"].to_pylist()) == sorted(
        row["id"] for row in rows
    )


def test_many_documents_are_batched_and_cut_at_the_same_places(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = documents([f"{i} {'x' * (i % 97)}" for i in range(3000)])
    write_tokens(tmp_path / "one", "train", rows, tokenizer, 20_000)
    monkeypatch.setattr("moxin_recipes.tokens.write._BATCH_CHARACTERS", 500)
    monkeypatch.setattr("moxin_recipes.tokens.write._INDEX_ROWS", 100)
    write_tokens(tmp_path / "two", "train", iter(rows), tokenizer, 20_000)
    for path in (tmp_path / "one").glob("*.bin"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        index = path.with_suffix(".parquet")
        assert pq.read_table(index) == pq.read_table(tmp_path / "two" / index.name)
    first = pq.ParquetFile(tmp_path / "two" / "train-00000-00000.parquet")
    assert first.num_row_groups > 1


def test_half_a_surrogate_pair_names_its_document(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(RecipeError, match="the document here/1 has half of a surrogate pair"):
        write_tokens(tmp_path, "train", documents(["fine", "a\ud800"]), tokenizer, 64)
    assert not list(tmp_path.glob("*.bin"))


def test_the_tokenizer_itself_takes_over_where_the_fast_library_differs_or_refuses(
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = tokenizer.backend_tokenizer
    exact = encode.reference(backend)
    assert encode.proven(backend, TEXTS) is not None
    assert "tokenizing with" not in caplog.text

    def wrong(_: Tokenizer) -> encode.Encode:
        return lambda texts: exact([text.replace("+ 12", "+ 13") for text in texts])

    monkeypatch.setattr(encode, "fast", wrong)
    caplog.set_level("INFO")
    ids, counts = encode.proven(backend, TEXTS)(TEXTS)
    assert "tuetoken differs on 'def f(x):" in caplog.text
    assert ids.tolist() == exact(TEXTS)[0].tolist()
    assert counts.sum() == len(ids)
    monkeypatch.undo()
    caplog.set_level("INFO")
    words = Tokenizer.from_str(backend.to_str())
    words.pre_tokenizer = None
    words.decoder = None
    monkeypatch.setitem(__import__("sys").modules, "tuetoken", None)
    assert encode.fast(backend) is None
    assert "tuetoken is not installed" in caplog.text

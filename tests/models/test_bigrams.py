"""Embeddings and a head that are fitted to pairs of tokens before training."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import ROOT
from tests.tiny import tiny_mistral, tiny_tokenizer
from transformers import AutoModelForCausalLM

from moxin_recipes.models import bigrams
from moxin_recipes.models.scratch import initialize_for_muon
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.stages import init
from moxin_recipes.tokens import pairs
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.write import train_tokenizer, write_tokens

VOCABULARY, ONE_MARK = 24, Framing(2, 2)


def test_counts_are_of_all_training_shards_and_sources(tmp_path: Path) -> None:
    for name, ids in {
        "a/train-00000-00000": [1, 2, 3, 2, 3],
        "b/train-00000-00000": [2, 3],
        "b/train-00000-00001": [3, 1],
        "b/heldout-00000-00000": [1, 1, 1],
    }.items():
        file = tmp_path / f"{name}.bin"
        file.parent.mkdir(exist_ok=True)
        np.array(ids, "<u2").tofile(file)
    found = pairs.counts(TokenFolder(tmp_path), 4, ONE_MARK)
    assert {(i, j): int(found[i, j]) for i, j in np.argwhere(found)} == {
        (1, 2): 1,
        (2, 3): 3,
        (3, 2): 1,
        (3, 1): 1,
    }


def test_a_vocabulary_of_too_many_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`bigrams_name`: 32,000 tokens make too many pairs"):
        pairs.counts(TokenFolder(tmp_path), 32_000, ONE_MARK)


def loss(model: Any, share: np.ndarray) -> float:
    """Nats a token of pairs (first, second) with these shares, each after another token."""
    with torch.no_grad():
        ids = torch.stack([torch.zeros(VOCABULARY, dtype=torch.long), torch.arange(VOCABULARY)], 1)
        given = model(input_ids=ids).logits[:, 1].float().log_softmax(1).double().numpy()
    return float(-np.sum(share * given))


def test_the_whole_model_predicts_the_next_token_of_each_pair() -> None:
    generator = np.random.default_rng(5)
    chances = generator.dirichlet(np.full(VOCABULARY, 0.3), VOCABULARY)
    seen = np.round(1e6 * chances * generator.dirichlet(np.ones(VOCABULARY))[:, None]).astype(int)
    model = tiny_mistral(vocab_size=VOCABULARY, tie_word_embeddings=False)
    torch.manual_seed(6)
    initialize_for_muon(model)
    others = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name not in ("model.embed_tokens.weight", "lm_head.weight")
    }
    bigrams.fit(model, seen)
    share = seen / seen.sum()
    entropy = -np.sum(share * np.log(np.maximum(seen / seen.sum(1, keepdims=True), 1e-12)))
    assert entropy <= loss(model, share) < entropy + 0.05
    for name, tensor in others.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_of_another_dtype_is_fitted_in_float32_and_keeps_it() -> None:
    model = tiny_mistral(vocab_size=VOCABULARY, tie_word_embeddings=False)
    initialize_for_muon(model)
    seen = np.roll(np.eye(VOCABULARY, dtype=np.int64), 1, 1)
    bigrams.fit(model.to(torch.bfloat16), seen)
    assert loss(model, seen / seen.sum()) < 0.1
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


TEXTS = ["12 or 13", "how many? 12", "<|user|> 13 or 12 or 13"]


def tokens_of(tokenizer: Any, folder: Path) -> Path:
    """A tokens repository of one source, with `TEXTS`."""
    documents = [{"text": text, "id": text, "origin": text} for text in TEXTS * 20]
    write_tokens(folder / "a", "train", documents, tokenizer, 10_000)
    return folder


def test_nothing_predicts_the_mark_that_begins_a_document(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokens = TokenFolder(tokens_of(tokenizer, tmp_path))
    framing, size = Framing.of(tokenizer, "key"), len(tokenizer)
    found = pairs.counts(tokens, size, framing)
    assert not found[:, framing.begin].any()
    only = tokens.shards("a", "train")[0]
    ids = tokens.read(only, 0, only.tokens)
    labels = framing.packed(ids)["labels"]
    assert found.sum() == (labels[1:] >= 0).sum()


def test_where_one_mark_ends_and_begins_it_is_predicted(tmp_path: Path) -> None:
    np.array([5, 2, 6, 2], "<u2").tofile(shard(tmp_path))
    assert pairs.counts(TokenFolder(tmp_path), 8, ONE_MARK).sum() == 3


def test_shards_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = TokenFolder(tokens_of(tiny_tokenizer(), tmp_path))
    whole = pairs.counts(tokens, 300, ONE_MARK)
    monkeypatch.setattr(pairs, "_PART", 7)
    assert (pairs.counts(tokens, 300, ONE_MARK) == whole).all()


def shard(folder: Path) -> Path:
    """The path of the one training shard of a tokens repository."""
    (folder / "a").mkdir(parents=True)
    return folder / "a/train-00000-00000.bin"


def test_no_training_tokens_are_an_error(tmp_path: Path) -> None:
    empty = TokenFolder(tmp_path / "none")
    np.array([1], "<u2").tofile(shard(tmp_path / "one"))
    for tokens in (empty, TokenFolder(tmp_path / "one")):
        with pytest.raises(RecipeError, match="`bigrams_name`: there are no training tokens"):
            pairs.counts(tokens, 8, ONE_MARK)


def test_ids_beyond_the_vocabulary_are_an_error(tmp_path: Path) -> None:
    np.array([1, 5, 9, 2], "<u2").tofile(shard(tmp_path))
    with pytest.raises(RecipeError, match="`bigrams_name`: its ids go up to 9 and more"):
        pairs.counts(TokenFolder(tmp_path), 9, ONE_MARK)


OTHER = "many words 12 of another text, or 13 letters of anything but how the first one goes <|u|>"


@pytest.mark.parametrize("size", [280, 300, 320])
def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path, size: int) -> None:
    other = train_tokenizer([OTHER] * 20, size)
    tokens = TokenFolder(tokens_of(other, tmp_path))
    pairs.prove(tokens, other)
    with pytest.raises(RecipeError, match="`bigrams_name`: the tokens of a are another tokenizer"):
        pairs.prove(tokens, tiny_tokenizer())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_stage_pushes_a_model_that_is_fitted_where_the_recipe_says_so(
    tmp_path: Path, dtype: Any
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    inputs = {
        "tokenizer_name_or_path": tmp_path / "tokenizer",
        "bigrams_name": tokens_of(tokenizer, tmp_path / "tokens"),
    }
    run: Any = SimpleNamespace(folder=tmp_path / "model", pull=lambda key, *_: inputs[key])
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    muon = read(ROOT / "recipes" / "moxin-nano-muon" / "10-init.yaml").keys
    keys = dataclasses.replace(muon, **small, dtype=dtype, parameters=None)
    init.random(run, keys)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert model.dtype == getattr(torch, dtype)
    tokens = TokenFolder(inputs["bigrams_name"])
    seen = pairs.counts(tokens, len(tokenizer), Framing.of(tokenizer, "key"))
    rows = np.flatnonzero(seen.sum(1))
    given = model(input_ids=torch.from_numpy(rows)[:, None]).logits[:, 0].argmax(-1).numpy()
    assert (seen[rows, given] == seen[rows].max(1)).mean() > 0.9

    inputs["bigrams_name"] = tokens_of(train_tokenizer([OTHER] * 20, 300), tmp_path / "others")
    with pytest.raises(RecipeError, match="`bigrams_name`: the tokens of a are another tokenizer"):
        init.random(run, keys)

"""Embeddings and a head that are fitted to pairs of tokens before training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import tiny_mistral, tiny_tokenizer
from transformers import AutoModelForCausalLM

from moxin_recipes.models import bigrams
from moxin_recipes.models.scratch import initialize_for_muon
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.stages import init
from moxin_recipes.tokens import pairs
from moxin_recipes.tokens.shards import TokenFolder

VOCABULARY = 24


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
    found = pairs.counts(TokenFolder(tmp_path), 4)
    assert {(i, j): int(found[i, j]) for i, j in np.argwhere(found)} == {
        (1, 2): 1,
        (2, 3): 3,
        (3, 2): 1,
        (3, 1): 1,
    }


def test_a_vocabulary_of_too_many_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="`bigrams_name`: 32,000 tokens make too many pairs"):
        pairs.counts(TokenFolder(tmp_path), 32_000)


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
    loss = bigrams.fit(model, seen)
    share = seen / seen.sum()
    entropy = -np.sum(share * np.log(np.maximum(seen / seen.sum(1, keepdims=True), 1e-12)))
    assert entropy <= loss < entropy + 0.05
    with torch.no_grad():  # after another token, as in a text
        ids = torch.stack([torch.zeros(VOCABULARY, dtype=torch.long), torch.arange(VOCABULARY)], 1)
        given = model(input_ids=ids).logits[:, 1].log_softmax(1).double().numpy()
    assert -np.sum(share * given) == pytest.approx(loss, abs=0.01)
    for name, tensor in others.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_stage_pushes_a_model_that_is_fitted_where_the_recipe_says_so(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    shard = tmp_path / "tokens/a/train-00000-00000.bin"
    shard.parent.mkdir(parents=True)
    np.tile(np.array([5, 6, 7, 8], "<u2"), 50).tofile(shard)
    inputs = {"tokenizer_name_or_path": tmp_path / "tokenizer", "bigrams_name": tmp_path / "tokens"}
    run: Any = SimpleNamespace(folder=tmp_path / "model", pull=lambda key, *_: inputs[key])
    keys = InitKeys(
        stage="init",
        hub_model_id="base",
        tokenizer_name_or_path="tokenizer@data",
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        sliding_window=32,
        initialization="muon",
        bigrams_name="tokens@data",
    )
    init.random(run, keys)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = torch.tensor([[5, 6, 7, 8]])
    assert model(input_ids=ids).logits.argmax(-1).tolist() == [[6, 7, 8, 5]]

"""The weights that pretraining starts from (paper, §3.1 and Table 1): new, deeper, a mean, given.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.init \
      --config recipes/moxin-nano/10-init.yaml

`method: scratch` draws random weights; `expand` and `upscale` deepen a trained Mistral or Llama;
`average` takes the mean of several models; `gguf` takes one out of a Python package, as it is.
Needs: a tokenizer, those models, or that package; tokens, if bits per byte before training are
wanted. Pushes: the base model.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from moxin_recipes.hub.pull import download
from moxin_recipes.models import average, bigrams, deepen, gguf, published, scratch
from moxin_recipes.models.weights import check_parameters
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out_text
from moxin_recipes.tokens import pairs, vocabulary
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import TokenFolder


def main(run: Run[InitKeys, None]) -> None:
    """Builds the model, checks its size, scores it, pushes."""
    keys = run.keys
    tokens = held_out_tokens(run, keys) if keys.dataset_name else None
    build = {
        "scratch": random,
        "expand": deeper,
        "upscale": deeper,
        "average": averaged,
        "gguf": given,
    }
    facts = build[keys.method](run, keys)
    facts["counts"] = {"parameters": check_parameters(run.folder, keys.parameters)}
    if tokens:
        facts["metrics"] = held_out_text.bits_per_byte(run.folder, tokens, keys.eval_context_length)
    run.finish({"hub_model_id": (run.folder, facts)})


def held_out_tokens(run: Run[InitKeys, None], keys: InitKeys) -> Path:
    """The tokens to score on, proven before anything is built, if the tokenizer is known then."""
    tokens = run.pull("dataset_name", ["*/heldout*"])
    for key in ("tokenizer_name_or_path", "model_name_or_path", "models"):
        if getattr(keys, key):
            tokenizer = AutoTokenizer.from_pretrained(run.pull(key))
            held_out_text.held_out_tokens(tokens, tokenizer, keys.eval_context_length)
            break
    return tokens


def random(run: Run[InitKeys, None], keys: InitKeys) -> dict[str, Any]:
    """A Mistral of the recipe's shape with random weights."""
    key = "tokenizer_name_or_path"
    tokenizer = vocabulary.proven(run.pull(key), key)
    special = vocabulary.special_ids(tokenizer, key)
    model = scratch.random_mistral(keys, special)
    if keys.bigrams_name:
        tokens = TokenFolder(run.pull("bigrams_name", ["*/train*"]))
        pairs.prove(tokens, tokenizer)
        framing = Framing.of(tokenizer, key)
        bigrams.fit(model, pairs.counts(tokens, model.config.vocab_size, framing))
    published.save(model, run.folder)
    tokenizer.save_pretrained(run.folder)
    layers = f"a {keys.num_hidden_layers}-layer Mistral"
    return {"summary": f"Random weights of {layers}: where pretraining starts."}


def deeper(run: Run[InitKeys, None], keys: InitKeys) -> dict[str, Any]:
    """A trained model with more layers, and the certificate of what that changed."""
    start = run.pull("model_name_or_path")
    layers = int(keys.num_hidden_layers or 0)
    dtype = getattr(torch, keys.dtype)
    certificate = deepen.deepened(start, keys.method, layers, run.folder, dtype)
    save_tokenizer(run, keys, start)
    return {
        "summary": f"{keys.model_name_or_path} made {layers} layers deep (`{keys.method}`): "
        "where pretraining starts.",
        "certificate": certificate,
        "notes": deepen.certificate_notes(certificate),
    }


def averaged(run: Run[InitKeys, None], keys: InitKeys) -> dict[str, Any]:
    """The mean of several models, all of one shape."""
    names = keys.models or []
    folders = [download(run.parent("models", i)) for i in range(len(names))]
    published.save(average.mean_of(folders, getattr(torch, keys.dtype)), run.folder)
    save_tokenizer(run, keys, folders[0])
    return {"summary": f"Mean of the weights of {', '.join(names)}."}


def given(run: Run[InitKeys, None], keys: InitKeys) -> dict[str, Any]:
    """A trained model that an installed package carries; the tokenizer is its own."""
    return gguf.unpack(keys.package or "", run.folder, getattr(torch, keys.dtype))


def save_tokenizer(run: Run[InitKeys, None], keys: InitKeys, model: Path) -> None:
    """Saves the tokenizer that the recipe names beside the weights, else that of `model`."""
    named = keys.tokenizer_name_or_path
    source = run.pull("tokenizer_name_or_path") if named else model
    tokenizer = AutoTokenizer.from_pretrained(source)
    needed, there = vocabulary.size(tokenizer), AutoConfig.from_pretrained(run.folder).vocab_size
    if needed > there:
        raise RecipeError(
            f"`tokenizer_name_or_path`: it has ids up to {needed - 1:,}, the model has {there:,}; "
            "take the model's own tokenizer"
        )
    tokenizer.save_pretrained(run.folder)


if __name__ == "__main__":
    launch(main, InitKeys)

"""The weights that pretraining starts from (paper, §3.1 and Table 1): new, deeper, a mean, given.

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.init --config recipes/moxin-nano/10-init.yaml

`method: scratch` draws random weights; `expand` and `upscale` deepen a trained Mistral or Llama;
`average` takes the mean of several models; `gguf` takes one out of a Python package, as it is.
Needs: a tokenizer, those models, or that package; tokens, if bits per byte before training are
wanted. Pushes: the base model.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerBase,
    set_seed,
)

from moxin_recipes.hub.pull import download
from moxin_recipes.models import average, deepen, gguf
from moxin_recipes.models.weights import parameter_shapes
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out
from moxin_recipes.training import optimizers


def main(run: Run[InitKeys, None]) -> None:
    """Builds the model, checks its size, saves it beside its tokenizer, pushes."""
    own = run.keys
    build = {
        "scratch": scratch,
        "expand": deeper,
        "upscale": deeper,
        "average": averaged,
        "gguf": given,
    }
    facts = build[own.method](run, own)
    parameters = sum(shape.numel() for shape in parameter_shapes(run.folder).values())
    if own.parameters not in (None, parameters):
        raise RecipeError(
            f"{run.recipe.path}: `parameters` says {own.parameters:,}, this shape has "
            f"{parameters:,}; mend one of them"
        )
    facts["counts"] = {"parameters": parameters}
    if own.dataset_name:
        tokens = run.pull("dataset_name", ["*/heldout*"])
        facts["metrics"] = held_out.bits_per_byte(run.folder, tokens, own.eval_context_length)
    run.finish({"hub_model_id": (run.folder, facts)})


def scratch(run: Run[InitKeys, None], own: InitKeys) -> dict[str, Any]:
    """A Mistral of the recipe's shape with random weights."""
    tokenizer = AutoTokenizer.from_pretrained(run.pull("tokenizer_name_or_path"))
    set_seed(own.seed)
    with torch.device("cpu"):
        model = MistralForCausalLM(mistral_config(own, tokenizer))
    if own.initialization == "muon":
        optimizers.initialize(model)
    model.to(getattr(torch, own.dtype)).save_pretrained(run.folder)
    tokenizer.save_pretrained(run.folder)
    return {
        "summary": f"Random weights of a {own.num_hidden_layers}-layer Mistral: "
        "where pretraining starts."
    }


def deeper(run: Run[InitKeys, None], own: InitKeys) -> dict[str, Any]:
    """A trained model with more layers, and the certificate of what that changed."""
    start = run.pull("model_name_or_path")
    wanted = int(own.num_hidden_layers or 0)
    dtype = getattr(torch, own.dtype)
    certificate = deepen.deepened(start, own.method, wanted, run.folder, dtype)
    _tokenizer(run, own, start).save_pretrained(run.folder)
    return {
        "summary": f"{own.model_name_or_path} made {wanted} layers deep (`{own.method}`): "
        "where pretraining starts.",
        "certificate": certificate,
        "notes": deepen.certificate_notes(certificate),
    }


def averaged(run: Run[InitKeys, None], own: InitKeys) -> dict[str, Any]:
    """The mean of several models, all of one shape."""
    names = own.models or []
    folders = [download(run.parent("models", i)) for i in range(len(names))]
    model = average.mean_of(folders, getattr(torch, own.dtype))
    model.save_pretrained(run.folder)
    _tokenizer(run, own, folders[0]).save_pretrained(run.folder)
    return {"summary": f"Mean of the weights of {', '.join(names)}."}


def given(run: Run[InitKeys, None], own: InitKeys) -> dict[str, Any]:
    """A trained model that an installed package carries; the tokenizer is its own."""
    return gguf.unpack(own.package or "", run.folder, getattr(torch, own.dtype))


def _tokenizer(run: Run[InitKeys, None], own: InitKeys, default: Path) -> PreTrainedTokenizerBase:
    given = own.tokenizer_name_or_path
    found = run.pull("tokenizer_name_or_path") if given else default
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(found)
    return tokenizer


def mistral_config(own: InitKeys, tokenizer: PreTrainedTokenizerBase) -> MistralConfig:
    """The model's config; the vocabulary and the special ids come from the tokenizer."""
    return MistralConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        hidden_size=own.hidden_size,
        intermediate_size=own.intermediate_size,
        num_hidden_layers=own.num_hidden_layers,
        num_attention_heads=own.num_attention_heads,
        num_key_value_heads=own.num_key_value_heads,
        max_position_embeddings=own.max_position_embeddings,
        sliding_window=own.sliding_window,
        rope_parameters={"rope_type": "default", "rope_theta": own.rope_theta},
        rms_norm_eps=own.rms_norm_eps,
        initializer_range=own.initializer_range,
        tie_word_embeddings=own.tie_word_embeddings,
    )


if __name__ == "__main__":
    launch(main, InitKeys)

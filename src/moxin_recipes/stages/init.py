"""A new Mistral with random weights, in the shape of the recipe (paper, Table 1).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.init --config recipes/moxin-nano/10-init.yaml

Needs: a tokenizer; tokens, if bits per byte before training are wanted. Pushes: the base model.
"""

import torch
from transformers import (
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerBase,
    set_seed,
)

from moxin_recipes.arguments import InitArguments
from moxin_recipes.run import Run, launch
from moxin_recipes.strict import RecipeError
from moxin_recipes.training import measure


def main(run: Run) -> None:
    """Builds the model, checks its size, saves it beside the tokenizer, pushes."""
    own: InitArguments = run.arguments
    tokenizer = AutoTokenizer.from_pretrained(run.pull("tokenizer_name_or_path"))
    config = mistral_config(own, tokenizer)
    set_seed(own.seed)
    with torch.device("cpu"):
        model = MistralForCausalLM(config).to(getattr(torch, own.dtype))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if own.parameters not in (None, parameters):
        raise RecipeError(
            f"{run.recipe.path}: `parameters` says {own.parameters:,}, this shape has "
            f"{parameters:,}; mend one of them"
        )
    model.save_pretrained(run.folder)
    tokenizer.save_pretrained(run.folder)
    facts = {
        "summary": f"Random weights of a {config.num_hidden_layers}-layer Mistral with "
        f"{parameters:,} parameters: where pretraining starts.",
        "counts": {"parameters": parameters},
    }
    if own.dataset_name:
        tokens = run.pull("dataset_name", ["*/heldout*"])
        facts["metrics"] = measure.bits_per_byte(run.folder, tokens, own.eval_context_length)
    run.finish({"hub_model_id": (run.folder, facts)})


def mistral_config(own: InitArguments, tokenizer: PreTrainedTokenizerBase) -> MistralConfig:
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
    launch(main)

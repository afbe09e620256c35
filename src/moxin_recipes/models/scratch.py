"""A Mistral of random weights, in the shape that a recipe gives."""

import torch
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    set_seed,
)

from moxin_recipes.recipe.keys.init import InitKeys


def random_mistral(keys: InitKeys, special: dict[str, int | None]) -> MistralForCausalLM:
    """The model on the CPU, in the recipe's dtype; its weights are a function of `seed`.

    `special` has the size of the vocabulary and the special ids, as the config names them.

    They are drawn as transformers does, or by `initialize_for_muon`, as `initialization` says.
    """
    set_seed(keys.seed)
    with torch.device("cpu"):
        model = MistralForCausalLM(mistral_config(keys, special))
    if keys.initialization == "muon":
        initialize_for_muon(model)
    return model.to(getattr(torch, keys.dtype))


def mistral_config(keys: InitKeys, special: dict[str, int | None]) -> MistralConfig:
    """The model's config; the vocabulary and the special ids come from the tokenizer."""
    return MistralConfig(
        **special,
        hidden_size=keys.hidden_size,
        intermediate_size=keys.intermediate_size,
        num_hidden_layers=keys.num_hidden_layers,
        num_attention_heads=keys.num_attention_heads,
        num_key_value_heads=keys.num_key_value_heads,
        max_position_embeddings=keys.max_position_embeddings,
        sliding_window=keys.sliding_window,
        rope_parameters={"rope_type": "default", "rope_theta": keys.rope_theta},
        rms_norm_eps=keys.rms_norm_eps,
        initializer_range=keys.initializer_range,
        tie_word_embeddings=keys.tie_word_embeddings,
    )


@torch.no_grad()
def initialize_for_muon(model: PreTrainedModel) -> None:
    """Random weights for Muon, after nanochat: every block starts as the identity.

    Matrices that read the stream are uniform with variance 1 / width, those that write to it zero;
    embeddings have the standard deviation 1 and a head of its own .001, so that the first
    predictions are uniform (.02 where they are one). Norms are 1.
    """
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2 or parameter is embeddings or parameter is head:
            continue
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.zero_()
        else:
            bound = (3 / parameter.shape[1]) ** 0.5
            parameter.uniform_(-bound, bound)
    embeddings.normal_(0, 0.02 if head is embeddings else 1.0)
    if head is not embeddings:
        head.normal_(0, 0.001)

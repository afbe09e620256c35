"""FLOPs of a token, by the count that the progress line has its MFU from."""

from transformers import MistralConfig
from trl.trainer.utils import adjusted_mfu, compute_flops_per_token

from moxin_recipes.recipe.memory import Shape


def config_of(shape: Shape) -> MistralConfig:
    """A model's config as far as FLOPs and memory follow from it; a Llama's are a Mistral's."""
    return MistralConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.groups,
        tie_word_embeddings=shape.tied,
    )


def of_token(shape: Shape, length: float) -> float:
    """FLOPs of a token's forward and backward pass in sequences of `length`; a third is forward.

    Attention is counted causal, as `training/progress.py` has it: a token sees half of the others.
    """
    config, tokens = config_of(shape), round(length)
    return float(compute_flops_per_token(config, tokens) * adjusted_mfu(1.0, config, tokens))


def again(shape: Shape, length: float, checkpointing: bool, selective: bool) -> float:
    """What a backward pass computes again of a forward pass, as a share of its FLOPs.

    A layer that is checkpointed computes all but its last product, which nothing needs; with
    selective checkpointing, queries, values and gate (training/selective.py).
    """
    attention = length * shape.hidden  # two products with half of the tokens, in FLOPs / 2
    products = shape.layer - 2 * shape.hidden
    wide = shape.hidden * shape.intermediate
    whole = shape.layers * (products + attention) + shape.vocabulary * shape.hidden
    if selective:
        return shape.layers * (shape.hidden * (shape.hidden + shape.key_width) + wide) / whole
    return shape.layers * (products + attention - wide) / whole if checkpointing else 0.0

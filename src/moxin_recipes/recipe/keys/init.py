"""The keys of `init`: the weights that training starts from."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from moxin_recipes.recipe.base import StageKeys, need
from moxin_recipes.recipe.bounds import AboveZero, Positive
from moxin_recipes.recipe.fields import DATASET_INPUT, MEASURE, MODEL_INPUT, MODEL_OUTPUT
from moxin_recipes.recipe.strict import RecipeError

_SHAPE = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
# What each method needs beside the name of its output.
_NEEDS: dict[str, tuple[str, ...]] = {
    "scratch": (
        "tokenizer_name_or_path",
        "num_hidden_layers",
        *_SHAPE,
        "max_position_embeddings",
        "sliding_window",
    ),
    "expand": ("model_name_or_path", "num_hidden_layers"),
    "upscale": ("model_name_or_path", "num_hidden_layers"),
    "average": ("models",),
    "gguf": ("package",),
}


@dataclass(kw_only=True)
class InitKeys(StageKeys):
    """Where the weights come from, and their shape.

    `scratch` draws them at random in the given shape; `expand` (LLaMA Pro's identity blocks) and
    `upscale` (SOLAR) deepen `model_name_or_path` to `num_hidden_layers`; `average` takes the mean
    of `models`, e.g. of annealing runs with several seeds; `gguf` takes a trained model from the
    one .gguf file of an installed `package`, dequantised.
    """

    scores: ClassVar[tuple[str, ...]] = ("bits_per_byte",)

    hub_model_id: str = field(metadata=MODEL_OUTPUT)
    method: Literal["scratch", "expand", "upscale", "average", "gguf"] = "scratch"
    # For scratch; else the model's own.
    tokenizer_name_or_path: str | None = field(default=None, metadata=MODEL_INPUT)
    model_name_or_path: str | None = field(default=None, metadata=MODEL_INPUT)
    models: list[str] | None = field(default=None, metadata=MODEL_INPUT)
    package: str | None = None  # NAME==VERSION
    hidden_size: Positive | None = None
    intermediate_size: Positive | None = None
    num_hidden_layers: Positive | None = None
    num_attention_heads: Positive | None = None
    num_key_value_heads: Positive | None = None
    max_position_embeddings: Positive | None = None  # tokens
    sliding_window: Positive | None = None  # tokens
    rope_theta: AboveZero = 10000.0
    rms_norm_eps: AboveZero = 1e-5
    initializer_range: AboveZero = 0.02
    initialization: Literal["normal", "muon"] = "normal"  # muon: as training/optimizers.py has it
    tie_word_embeddings: bool = False
    # Tokens to whose pairs of neighbours embeddings and head are fitted before any training; for
    # `initialization: muon`, and vocabularies up to 8,192 (models/bigrams.py). All of its sources
    # count by their size: the weights of a mixture are not used.
    bigrams_name: str | None = field(default=None, metadata=DATASET_INPUT)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    parameters: Positive | None = None  # expected number of parameters; another one is an error
    # As in pretrain: bits per byte before training, on the same held-out set.
    dataset_name: str | None = field(default=None, metadata={**DATASET_INPUT, **MEASURE})
    eval_context_length: Positive = 256  # tokens

    def positions(self, args: Any) -> dict[str, int]:  # noqa: ARG002 (as in others)
        """A sequence of the held-out set, where the model is another one's, made deeper."""
        return {"eval_context_length": self.eval_context_length if self.dataset_name else 0}

    def check(self) -> None:
        """The method has what it needs, and attention heads divide what they have to."""
        super().check()
        need(self, _NEEDS[self.method], f"`method: {self.method}` needs it")
        most = self.max_position_embeddings or self.eval_context_length
        if self.method == "scratch" and self.dataset_name and self.eval_context_length > most:
            raise RecipeError(
                f"`eval_context_length`: {self.eval_context_length:,} tokens, but the model has "
                f"{most:,} positions (`max_position_embeddings`)"
            )
        if self.bigrams_name and self.method != "scratch":
            raise RecipeError(
                f"`bigrams_name`: `method: {self.method}` takes trained weights, and fits none; "
                "leave it out"
            )
        if self.bigrams_name and (self.initialization != "muon" or self.tie_word_embeddings):
            raise RecipeError(
                "`bigrams_name`: layers must begin as the identity, and embeddings differ from the "
                "head; set `initialization: muon` and `tie_word_embeddings: false`"
            )
        heads, groups = self.num_attention_heads or 1, self.num_key_value_heads or 1
        if heads % groups:
            raise RecipeError(
                f"`num_key_value_heads`: {heads} attention heads cannot share {groups}"
            )
        if self.method == "scratch" and (self.hidden_size or 0) % heads:
            raise RecipeError(
                f"`num_attention_heads`: `hidden_size` {self.hidden_size} is no multiple of {heads}"
            )

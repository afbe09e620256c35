"""The keys of `pretrain`: one phase on packed tokens."""

import pkgutil
from dataclasses import dataclass, field
from typing import Any, ClassVar

from moxin_recipes.recipe.base import TrainingKeys
from moxin_recipes.recipe.bounds import AboveZero, AtLeastZero, Count, Fraction, Positive, Share
from moxin_recipes.recipe.fields import HARMLESS, MODEL_INPUT, ROUNDING
from moxin_recipes.recipe.strict import RecipeError


@dataclass(kw_only=True)
class MixtureItem:
    """One source of a mixture: its weight, and the part of its tokens that is read."""

    source: str
    weight: AboveZero  # share of the sequences; the weights of a mixture sum to 1
    # From `start` to `stop`, as shares of the source's tokens: a phase that starts where another
    # one stopped reads nothing again.
    start: Share = 0.0
    stop: Share = 1.0
    epochs: AboveZero = 1.0  # most passes over that part; a phase that needs more is an error


@dataclass(kw_only=True)
class PretrainKeys(TrainingKeys):
    """One phase of pretraining on packed tokens, on a mixture of sources."""

    libraries: ClassVar[tuple[str, ...]] = ("transformers:TrainingArguments",)
    scores: ClassVar[tuple[str, ...]] = ("bits_per_byte",)
    curves: ClassVar[dict[str, str]] = {"loss": "training loss (nats a token)"}

    model_name_or_path: str = field(metadata=MODEL_INPUT)
    context_length: Positive  # tokens of a sequence
    mixture: list[MixtureItem]
    eval_context_length: Positive = 256  # tokens; the same for all phases, so that they compare
    attn_implementation: str | None = field(default=None, metadata=ROUNDING)
    # Layers keep every second matrix product and what attention gives, and compute the rest again
    # in the backward pass; in the place of what the launcher's file says of checkpointing.
    selective_checkpointing: bool = field(default=False, metadata=ROUNDING)
    shuffle_shards: Positive = 16  # shards of each source that are read in one shuffled order
    # Shards come from the Hub when they are due, and stay on each node within this bound.
    # The default folder is token-cache/ in MOXIN_HOME; name a disk of the node.
    token_cache_dir: str | None = field(default=None, metadata=HARMLESS)
    token_cache_gb: AboveZero = field(default=100.0, metadata=HARMLESS)
    z_loss: AtLeastZero = 0.0  # weight of log²(Z) in the loss; OLMo 2: 1e-5
    # Steps passed over (a loss or gradient that is no number, a spike) before the run stops.
    max_skipped_steps: Count = field(default=100, metadata=HARMLESS)
    optimizer: str = "adamw"  # of training/optimizers.py; adamw: as `optim` says
    # For muon; `learning_rate` and `weight_decay` are those of the matrices inside the layers.
    muon_momentum: Fraction = 0.95
    embedding_learning_rate: AtLeastZero = 0.1
    head_learning_rate: AtLeastZero = 0.008
    norm_learning_rate: AtLeastZero = 0.01

    def check(self) -> None:
        """The mixture's weights sum to 1, and each part of a source holds something."""
        super().check()
        if not self.mixture:
            raise RecipeError("`mixture` names no source")
        names = [item.source for item in self.mixture]
        for position, item in enumerate(self.mixture):
            if item.source in names[:position]:
                raise RecipeError(
                    f"`mixture[{position}].source`: {item.source} is named twice; give it one "
                    "weight and one part"
                )
            if item.start >= item.stop:
                raise RecipeError(
                    f"`mixture[{position}]`: a part of a source goes from a `start` to a larger "
                    f"`stop`, not from {item.start:g} to {item.stop:g}"
                )
        total = sum(item.weight for item in self.mixture)
        if abs(total - 1) > 1e-6:
            raise RecipeError(
                f"`mixture`: the weights are shares above 0 that sum to 1, not to {total:g}"
            )

    def positions(self, args: Any) -> dict[str, int]:  # noqa: ARG002 (as in others)
        """A sequence of training, and one of the held-out set."""
        lengths = ("context_length", "eval_context_length")
        return {key: getattr(self, key) for key in lengths}

    def check_libraries(self, args: Any) -> None:
        """The optimizer is there; a phase is a number of steps; liger's kernel has no z-loss."""
        super().check_libraries(args)
        pkgutil.resolve_name("moxin_recipes.training.optimizers:check")(self.optimizer)
        if args.max_steps < 1:
            raise RecipeError("`max_steps` is missing: a phase is so many steps, not epochs")
        if self.z_loss and args.use_liger_kernel:
            raise RecipeError("`z_loss`: liger's kernel knows none; leave out `use_liger_kernel`")
        if self.selective_checkpointing and args.gradient_checkpointing:
            raise RecipeError(
                "`selective_checkpointing`: `gradient_checkpointing` computes whole layers again; "
                "leave one of them out"
            )

"""The keys of `grpo`: group-relative policy optimisation on verifiable rewards."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from moxin_recipes.recipe.base import PostTrainingKeys
from moxin_recipes.recipe.bounds import Positive, Share
from moxin_recipes.recipe.fields import DATASET_INPUT, MEASURE
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.recipe.user_files import check_rewards


@dataclass(kw_only=True)
class GrpoKeys(PostTrainingKeys):
    """Problems (`problem`, `answer`) and the rewards of their solutions."""

    libraries: ClassVar[tuple[str, ...]] = ("trl:ModelConfig", "trl:GRPOConfig")
    scores: ClassVar[tuple[str, ...]] = ("accuracy", "longer_forced_chain_accuracy")
    curves: ClassVar[dict[str, str]] = {
        "reward": "mean reward",
        "completions/mean_length": "tokens a completion",
        "entropy": "entropy (nats a token)",
        "kl": "KL to the start (nats a token)",
        "frac_reward_zero_std": "groups without variance",
    }
    problem_column: str = "problem"
    answer_column: str = "answer"
    rewards: list[str] = field(
        default_factory=lambda: ["math"]
    )  # names, or package.module:function
    # A distilled dataset of these problems, for the next two keys.
    pass_rates_name: str | None = field(default=None, metadata={**DATASET_INPUT, **MEASURE})
    min_pass_rate: Share = 0.0  # problems solved less often than this are left out …
    max_pass_rate: Share = 1.0  # … and those solved more often
    max_prompt_length: Positive = 1024  # tokens; longer prompts are counted and kept aside

    def rounding_decides(self, values: dict[str, Any]) -> bool:  # noqa: ARG002 (as in others)
        """Each micro-batch samples with random numbers of its own."""
        return True

    def check(self) -> None:
        """The rewards are there, and some pass rate lies in the range."""
        super().check()
        check_rewards(self.rewards)
        if self.min_pass_rate > self.max_pass_rate:
            raise RecipeError(
                f"`min_pass_rate` {self.min_pass_rate:g} is above `max_pass_rate` "
                f"{self.max_pass_rate:g}: no problem lies between them"
            )
        filters = (self.min_pass_rate, self.max_pass_rate) != (0.0, 1.0)
        if filters and self.pass_rates_name is None:
            raise RecipeError(
                "`pass_rates_name` is missing: `min_pass_rate` and `max_pass_rate` need pass rates"
            )

    def positions(self, args: Any) -> dict[str, int]:
        """A prompt and its completion, as long as they may be."""
        whole = self.max_prompt_length + args.max_completion_length
        both = "max_prompt_length + max_completion_length"
        return super().positions(args) | {both: whole}

    def check_libraries(self, args: Any) -> None:
        """No checkpoint falls between the updates on one generation: completions are not saved."""
        super().check_libraries(args)
        weights = args.reward_weights
        if weights is not None and len(weights) != len(self.rewards):
            raise RecipeError(
                f"`reward_weights` has {len(weights)} numbers for {len(self.rewards)} `rewards`"
            )
        micro_batches = args.steps_per_generation * args.num_iterations
        accumulated = args.gradient_accumulation_steps
        updates = math.lcm(micro_batches, accumulated) // accumulated
        if updates == 1 or args.save_strategy == "no":
            return
        between = args.save_steps  # below 1: a share of all steps
        if between < 1:
            between = math.ceil(args.max_steps * between) if args.max_steps > 0 else 1
        if args.save_strategy != "steps" or between % updates:
            raise RecipeError(
                f"`save_steps`: a generation lasts {updates} updates, and a run resumed between "
                f"them would sample anew; use `save_strategy: steps` and a multiple of {updates}"
            )

"""The keys of `dpo`: direct preference optimisation on pairs."""

from dataclasses import dataclass
from typing import ClassVar

from moxin_recipes.recipe.base import PostTrainingKeys


@dataclass(kw_only=True)
class DpoKeys(PostTrainingKeys):
    """Pairs of `chosen` and `rejected`; those of the test split are scored after training."""

    libraries: ClassVar[tuple[str, ...]] = ("trl:ModelConfig", "trl:DPOConfig")
    scores: ClassVar[tuple[str, ...]] = ("preference_accuracy", "accuracy")
    curves: ClassVar[dict[str, str]] = {"rewards/accuracies": "reward accuracy in training"}

    dataset_test_split: str | None = None

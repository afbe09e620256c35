"""The keys of `dpo`: direct preference optimisation on pairs."""

from dataclasses import dataclass
from typing import Any, ClassVar

from moxin_recipes.recipe.base import PostTrainingKeys


@dataclass(kw_only=True)
class DpoKeys(PostTrainingKeys):
    """Pairs of `chosen` and `rejected`; those of the test split are scored after training."""

    libraries: ClassVar[tuple[str, ...]] = ("trl:ModelConfig", "trl:DPOConfig")
    scores: ClassVar[tuple[str, ...]] = ("preference_accuracy", "accuracy")
    curves: ClassVar[dict[str, str]] = {"rewards/accuracies": "reward accuracy in training"}

    dataset_test_split: str | None = None
    prompt_column: str = "prompt"  # may be missing where the answers are whole chats
    chosen_column: str = "chosen"
    rejected_column: str = "rejected"

    @property
    def evaluates(self) -> bool:
        """The pairs of the test split."""
        return self.dataset_test_split is not None

    def deciding(self, values: dict[str, Any]) -> frozenset[str]:
        """TRL's preference accuracy is a mean over batches."""
        return super().deciding(values) | {"per_device_eval_batch_size"}

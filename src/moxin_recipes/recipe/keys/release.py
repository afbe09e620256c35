"""The keys of `release`: an index of every artifact with its commit."""

from dataclasses import dataclass, field

from moxin_recipes.recipe.base import StageKeys
from moxin_recipes.recipe.fields import DATASET_INPUT, HARMLESS, MODEL_INPUT, MODEL_OUTPUT
from moxin_recipes.recipe.strict import RecipeError


@dataclass(kw_only=True)
class ReleaseKeys(StageKeys):
    """What is released, under which name, and whether it is opened."""

    hub_model_id: str = field(metadata=MODEL_OUTPUT)
    models: list[str] = field(metadata=MODEL_INPUT)  # the last one's weights are the release's
    datasets: list[str] = field(metadata=DATASET_INPUT)
    publish: bool = False  # opens the repositories
    # Parts to open though they are non-commercial or of no known licence, as errors name them.
    accept_parts: list[str] = field(default_factory=list, metadata=HARMLESS)

    def check(self) -> None:
        """There is a model to release."""
        super().check()
        if not self.models:
            raise RecipeError("`models` is empty: the last one's weights are the release's")

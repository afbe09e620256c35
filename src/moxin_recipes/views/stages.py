"""The stages of a ladder as the Hub has them: each output with its commit and manifest."""

from dataclasses import dataclass
from typing import Any

from moxin_recipes.hub import pull
from moxin_recipes.hub.session import qualified
from moxin_recipes.ladder import status
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe.reading import Recipe

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Output:
    """A repository that a stage pushed, at the commit that is tagged done."""

    repo: str
    type: str
    commit: str
    manifest: Manifest


@dataclass(frozen=True)
class Stage:
    """A stage; without outputs while it is not done. The first output is the main one."""

    recipe: Recipe[Any]
    word: str  # done, to do, waiting
    outputs: dict[str, Output]  # by the recipe's key
    before: str | None = None  # the stage that its model is from, measured on the same items

    @property
    def name(self) -> str:
        """The recipe's name, such as 30-sft."""
        return self.recipe.name

    @property
    def main(self) -> Manifest:
        """The manifest of the main output; {} while the stage is not done."""
        return next((output.manifest for output in self.outputs.values()), {})

    @property
    def metrics(self) -> dict[str, float]:
        """What the stage measured of its result."""
        return self.main.get("metrics") or {}


def read(states: list[State]) -> list[Stage]:
    """Asks the Hub for all outputs of the stages that are done."""
    stages = []
    for state in states:
        before = status.started_from(state, states)
        name = before.recipe.name if before else None
        stages.append(Stage(state.recipe, state.word, dict(_outputs(state)), name))
    return stages


def _outputs(state: State) -> list[tuple[str, Output]]:
    found = []
    for key, commit in state.commits.items():
        place, kind = qualified(state.recipe.outputs[key]), state.recipe.output_type(key)
        manifest = pull.read_manifest(place, kind, commit)
        if manifest:
            found.append((key, Output(place, kind, commit, manifest)))
    return found

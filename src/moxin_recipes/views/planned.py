"""What was planned of the stages that are done, beside what they took."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from moxin_recipes.views.stages import Stage


@dataclass(frozen=True)
class Planned:
    """A stage whose tokens both the plan and the manifest have."""

    stage: str
    planned: float  # tokens
    counted: int  # tokens
    flops: float | None  # planned
    seconds: float
    assumed: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float | None:
        """FLOPs of the tokens that were counted, by second; scoring and pushing take time too."""
        done = (self.flops or 0) * self.counted / self.planned
        return done / self.seconds if done and self.seconds else None


def planned(stages: Sequence[Stage]) -> list[Planned]:
    """The stages that trained, by the plan's own arithmetic on the values of their manifests."""
    known_of = ("tokens", "trainer")
    trained = [one for one in stages if one.recipe.trains and all(map(one.main.get, known_of))]
    if not trained:
        return []
    from moxin_recipes.plan import hours, models, work

    known = models.with_siblings([stage.recipe for stage in stages])
    found = []
    for stage in trained:
        args = SimpleNamespace(**stage.main["trainer"])
        todo = work.of_stage(known, stage.recipe, args)
        shape = models.shape_of(known, stage.recipe)
        if todo.tokens:
            flops = hours.trained(shape, todo) + hours.generated(shape, todo) if shape else None
            one = (stage.name, todo.tokens, stage.main["tokens"], flops, stage.main["seconds"])
            found.append(Planned(*one, todo.assumed))
    return found

"""What training knows of the stage that it is part of.

`moxin_recipes.run.Run` is such a job. It stands above this room, so it is not imported here.
"""

from pathlib import Path
from typing import Any, Protocol

from moxin_recipes.hub.pull import Parent
from moxin_recipes.ranks import Ranks
from moxin_recipes.recipe.identity import Identity
from moxin_recipes.recipe.reading import Recipe


class Job(Protocol):
    """One launch of one recipe in this process: its keys, inputs, folders and clock."""

    recipe: Recipe[Any]
    keys: Any  # the stage's own
    args: Any  # the trainer's dataclass
    identity: Identity
    folder: Path  # of the result
    state: Path  # of what makes resuming possible
    processes: int
    ranks: Ranks  # the processes, and how they share work
    seconds_before: float  # of work on this key before an interruption

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0."""

    @property
    def seconds(self) -> float:
        """Seconds of work on this key so far."""

    @property
    def model_config(self) -> Any:
        """TRL's dataclass of how the model is loaded."""

    def parent(self, key: str, position: int = 0) -> Parent:
        """The pinned input of a recipe key."""

    def pull(self, key: str, patterns: list[str] | None = None) -> Path:
        """The folder of an input."""

    def manifest(self, **facts: Any) -> dict[str, Any]:
        """The manifest with these facts, without its payload."""

    def finish(self, outputs: dict[str, tuple[Path, dict[str, Any]]]) -> None:
        """Pushes the outputs: hub key → (folder, facts)."""

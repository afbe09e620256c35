"""What training knows of the stage that it is part of.

`moxin_recipes.run.Run` is such a job. It stands above this room, so it is not imported here.
"""

from pathlib import Path
from typing import Any, Protocol

from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.reading import Recipe


class Job(Protocol):
    """One launch of one recipe in this process: its keys, inputs, folders and clock."""

    recipe: Recipe
    arguments: Any  # the stage's own keys
    folder: Path  # of the result
    state: Path  # of what makes resuming possible
    key: str
    processes: int
    seconds_before: float  # of work on this key before an interruption

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0."""

    @property
    def seconds(self) -> float:
        """Seconds of work on this key so far."""

    def parent(self, key: str, position: int = 0) -> Parent:
        """The pinned input of a recipe key."""

    def pull(self, key: str, patterns: list[str] | None = None) -> Path:
        """The folder of an input."""

    def manifest(self, **facts: Any) -> dict[str, Any]:
        """The manifest with these facts, without its payload."""

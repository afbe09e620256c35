"""Is a stage done? What the Hub says of it, by the key of its recipe and inputs."""

from dataclasses import dataclass, field
from typing import Any

from moxin_recipes.hub import pull
from moxin_recipes.hub.push import move_tag
from moxin_recipes.hub.session import MissingError, qualified
from moxin_recipes.recipe.identity import Identity, identity
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


@dataclass(frozen=True)
class State:
    """What the Hub says of a stage: its identity, and the commits that are tagged done for it."""

    recipe: Recipe[Any]
    identity: Identity | None  # None while an input does not exist
    done_tag: str | None = None
    commits: dict[str, str] = field(default_factory=dict)  # of each output, by its recipe key
    manifest: dict[str, Any] | None = None

    @property
    def commit(self) -> str | None:
        """That of the main output."""
        return next(iter(self.commits.values()), None)

    @property
    def done(self) -> bool:
        """Whether the stage's last push for this very identity is on the Hub."""
        return bool(self.commits)

    @property
    def word(self) -> str:
        """For a table: done, to do, or waiting for an input."""
        return "done" if self.done else "waiting" if self.identity is None else "to do"


def state(recipe: Recipe[Any], launcher: Launcher) -> State:
    """Resolves the inputs of a recipe, and looks for the push that its key names.

    All of its repositories must be tagged, and the manifest there must have the key that the tag is
    short for. Where no push has today's key, one with the key of the first form is looked for.
    """
    try:
        parents = pull.resolve_all(recipe.references)
    except MissingError:
        return State(recipe, None)
    payloads = [(parent.key, parent.payload) for parent in parents]
    try:
        wanted = identity(recipe, payloads, launcher)
    except (TypeError, ValueError) as error:  # of the libraries' keys, which are not checked here
        raise RecipeError(
            f"{recipe.path}: a value has a wrong type; `moxin check` names it"
        ) from error
    for key in (wanted.key, wanted.old_key):
        tag = f"done-{key[:12]}"
        commits = _commits(recipe, tag)
        if commits:
            main = next(iter(commits))
            repo, kind = qualified(recipe.outputs[main]), recipe.output_type(main)
            manifest = pull.read_manifest(repo, kind, commits[main])
            if manifest and manifest["key"] == key:
                return State(recipe, wanted, tag, commits, manifest)
    return State(recipe, wanted)


def _commits(recipe: Recipe[Any], tag: str) -> dict[str, str]:
    """Output key → commit of a tag; nothing where one of the repositories does not have it."""
    commits = {}
    for output, repo in recipe.outputs.items():
        commit = pull.commit_of(qualified(repo), recipe.output_type(output), tag)
        if commit is None:
            return {}
        commits[output] = commit
    return commits


def tagged(state: State) -> bool:
    """Whether the stage's tag points at its done commit in all of its repositories."""
    return state.done and state.commits == _commits(state.recipe, state.recipe.tag)


def restore_tags(state: State) -> None:
    """Points the stage's tag at its done commit again, where a later run of another key moved it.

    So a number that is changed and changed back needs no second training.
    """
    for output, commit in state.commits.items():
        repo, kind = qualified(state.recipe.outputs[output]), state.recipe.output_type(output)
        move_tag(repo, kind, state.recipe.tag, commit)

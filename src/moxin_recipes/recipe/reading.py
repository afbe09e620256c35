"""YAML → a typed recipe: the only reader of recipes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from moxin_recipes import environment, secrecy
from moxin_recipes.recipe import evaluation_sets, fields
from moxin_recipes.recipe.base import StageKeys
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.keys import keys_of, stages
from moxin_recipes.recipe.strict import RecipeError, build, parse

K = TypeVar("K", bound=StageKeys, covariant=True)


@dataclass(frozen=True)
class Recipe(Generic[K]):
    """One recipe with the command line's keys on top.

    `keys` are those of our own, typed. `values` is all that was written, as plain data: the file,
    what it extends, the command line, and the evaluation sets that another recipe lists.
    """

    path: Path
    keys: K
    values: dict[str, Any]
    flags: dict[str, Any]  # those of the values that the command line gave

    @property
    def name(self) -> str:
        """File name without its ending, as `--from` and `status` have it: `30-sft`."""
        return self.path.stem

    @property
    def ladder(self) -> str:
        """Name of the folder that the recipe is in."""
        return self.path.resolve().parent.name

    @property
    def tag(self) -> str:
        """Name without its number, the tag of the finished stage on the Hub: `sft`."""
        return self.name.split("-", 1)[-1]

    @property
    def stage(self) -> str:
        """The module under `stages/` that runs it."""
        return self.keys.stage

    @property
    def trains(self) -> bool:
        """Whether a library's trainer runs it, on as many processes as the launcher starts."""
        return bool(self.keys.libraries)

    @property
    def output_dir(self) -> Path:
        """Folder of this stage's local files."""
        given = self.keys.output_dir
        default = environment.home() / "runs" / self.ladder / self.name
        return Path(given) if given else default

    @property
    def outputs(self) -> dict[str, str]:
        """Key → repository, for each repository the stage pushes; the first one is the main one."""
        return {key: repo for key, (repo, _) in self.typed_outputs.items()}

    def output_type(self, key: str) -> str:
        """Repository type of an output key: model or dataset."""
        return self.typed_outputs[key][1]

    @property
    def typed_outputs(self) -> dict[str, tuple[str, str]]:
        """Key → repository and its type, of each output."""
        named = fields.outputs(self.keys)
        return {key: named[key] for key in self.values if key in named}

    @property
    def references(self) -> list[Reference]:
        """All inputs, in a fixed order."""
        return fields.references(self.keys) + self.keys.implied()

    @property
    def library_values(self) -> dict[str, Any]:
        """What the recipe sets of the libraries' keys."""
        own = {field.name for field in dataclasses.fields(self.keys)}
        return {key: value for key, value in self.values.items() if key not in own}

    @property
    def resolved(self) -> dict[str, Any]:
        """All keys of our own with their defaults, and what was written of the libraries'."""
        return fields.defaults(self.keys) | self.values


def read(path: Path, overrides: list[str] | None = None) -> Recipe[StageKeys]:
    """Reads one recipe with `--key value` pairs of the command line on top.

    RecipeError for a file that cannot be read, and for a key of ours that is missing or of the
    wrong type. `door.check` looks at the rest.
    """
    flags = _command_line(overrides or [])
    values = _with_base(path) | flags
    if values.get("stage") not in stages():
        raise RecipeError(f"{path}: `stage` must be one of {', '.join(stages())}")
    _list_sets(path, values)
    if key := secrecy.in_values(values):
        raise RecipeError(
            f"{path}: `{key}`: it holds what looks like a secret, or is an address with a user, a "
            "password or a query, and a result records its recipe; give secrets as variables "
            "(HF_TOKEN, MOXIN_TEACHER_TOKEN)"
        )
    kind = keys_of(values["stage"])
    names = {field.name for field in dataclasses.fields(kind)}
    try:
        keys = build(kind, {key: value for key, value in values.items() if key in names})
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return Recipe(path, keys, values, flags)


def _with_base(path: Path) -> dict[str, Any]:
    """The values of a file on top of those of the recipe that it extends, one level deep."""
    values = _content(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(f"{path}: `extends` is the path of a recipe, not {base!r}")
    below = path.parent / base
    try:
        whole = _content(below)
    except RecipeError as error:
        raise RecipeError(f"{path}: `extends`: {error!s}".replace("\0", "")) from error
    if "extends" in whole:
        raise RecipeError(
            f"{path}: `extends`: {below} extends another recipe itself; name that one, and repeat "
            "here what differs"
        )
    return whole | values


def _list_sets(path: Path, values: dict[str, Any]) -> None:
    """Puts the sets that another recipe lists in the place of that recipe's name."""
    other = values.get(evaluation_sets.KEY)
    if not isinstance(other, str) or values["stage"] == "data":
        return
    try:
        listed = evaluation_sets.listed_in(_with_base(Path(other)), Path(other))
    except RecipeError as error:
        within = "" if str(error).startswith("`") else f"`{evaluation_sets.KEY}`: "
        raise RecipeError(f"{path}: {within}{error}".replace("\0", "")) from error
    values[evaluation_sets.KEY] = listed


def _content(path: Path) -> dict[str, Any]:
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(reason)
        hint = "" if isinstance(error, RecipeError) else "; give a recipe file"
        raise RecipeError(f"{path}: {reason}{hint}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: `stage` must be one of {', '.join(stages())}")
    other = values.get(evaluation_sets.KEY)
    if isinstance(other, str):  # beside the file that says so
        values[evaluation_sets.KEY] = str(path.parent / other)
    return values


def _command_line(words: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--") or len(word) == 2:
            raise RecipeError(f"`{word}` is not an option; write --key value")
        key, equals, value = word[2:].partition("=")
        following = words[position + 1] if position + 1 < len(words) else "--"
        if not equals and not following.startswith("--"):
            value = following
            position += 1
        elif not equals:
            value = "true"
        if key in values:
            raise RecipeError(f"`--{key}` is given twice")
        values[key] = _plain(key, value)
        position += 1
    return values


def _plain(key: str, text: str) -> Any:
    try:
        return parse(text)
    except RecipeError as error:
        raise RecipeError(f"`--{key}`: {error}") from error

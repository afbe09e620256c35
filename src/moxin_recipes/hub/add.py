"""Which files `moxin hub add` sends, and the path that each gets in the repository."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from moxin_recipes.recipe.strict import RecipeError

_GIT = ".git"  # the one name that no repository can hold
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and what is no UTF-8


def files(arguments: Iterable[Path]) -> dict[str, Path]:
    """Path in the repository → file: a file gets its name, those of a folder their paths below it.

    Hidden files are added like all others. A `.git` in a folder is left out. A link to a file
    stands for that file.

    Raises:
        RecipeError: two files would get one path, or a path below the other's; a folder holds no
            file; an argument, or what lies in a folder, is neither a file nor a folder; a name has
            characters that cannot be shown.
    """
    paths: dict[str, Path] = {}
    for argument in arguments:
        for path, file in _placed(argument):
            if path in paths:
                raise _clash(path, paths[path], file)
            paths[path] = file
    check_names(paths)
    for path, file in paths.items():
        for parent in Path(path).parents:
            if (above := paths.get(parent.as_posix())) is not None:
                raise _clash(parent.as_posix(), above, file)
    return paths


def check_names(paths: Iterable[str]) -> None:
    """Raises RecipeError for a path of characters that no listing can show."""
    for path in paths:
        if _UNSAFE.search(path):
            raise RecipeError(f"{path!a}: a name of characters that cannot be shown; rename it")


def _placed(argument: Path) -> Iterator[tuple[str, Path]]:
    if argument.is_file():
        if argument.name.lower() == _GIT:
            raise RecipeError(f"{argument}: a repository can hold no {_GIT}; rename it")
        yield argument.name, argument
    elif argument.is_dir():
        inside = list(_below(argument))
        if not inside:
            raise RecipeError(f"{argument}: there is no file in this folder")
        yield from ((file.relative_to(argument).as_posix(), file) for file in inside)
    else:
        raise RecipeError(f"{argument}: there is no such file or folder")


def _below(folder: Path) -> Iterator[Path]:
    """All files of a folder and of those in it, in the order of their names."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if entry.name.lower() == _GIT:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path)
        elif entry.is_file():
            yield path
        elif entry.is_dir():
            raise RecipeError(
                f"{path}: a link to a folder, which may lead anywhere; put the folder itself "
                "there, or add it by an argument of its own"
            )
        else:
            raise RecipeError(f"{path}: no file and no folder, or a link to nothing; remove it")


def _clash(path: str, one: Path, other: Path) -> RecipeError:
    return RecipeError(
        f"{path}: both {one} and {other} would stand there, and nothing was added; rename one of "
        "them, or give the folder that holds both, whose files keep their paths below it"
    )

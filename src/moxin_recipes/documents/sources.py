"""Which files of a source are read: a seeded choice of those that match, downloaded alone."""

import logging
import random
from collections.abc import Callable
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep

from moxin_recipes.documents import heads
from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.kinds import READ, is_data, kind_of
from moxin_recipes.documents.local import NAMES, LocalReader
from moxin_recipes.documents.readers import Reader
from moxin_recipes.hub import own, pull
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.fields import is_path
from moxin_recipes.recipe.keys.data import Source
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)


def chosen_files(source: Source, parent: Parent, seed: int) -> list[str]:
    """The files of a source, sorted: a share of those that match its patterns, by the seed.

    Those of the user's own are named as they were where they came from.
    """
    files = pull.files(parent)
    if is_path(source.dataset):
        top = f"{own.PLACE}/"
        files = [file.removeprefix(top) for file in files if file.startswith(top)]
    listed = matching(source, parent.key, parent.repo, files)
    count = max(1, round(source.file_share * len(listed)))
    return sorted(random.Random(f"{seed} {source.name}").sample(listed, count))


def matching(source: Source, key: str, place: str, files: list[str]) -> list[str]:
    """Those of the files in `place` that match the patterns of a source and are of a kind read.

    Raises:
        RecipeError: there are none; or a file of the user's own is of no kind that is read.
    """
    is_own = is_path(source.dataset)
    # A name matches itself alone: files listed one by one are not held against each other.
    names = {pattern for pattern in source.files if escape(pattern) == pattern}
    data = files if is_own else [file for file in files if is_data(file) or file in names]
    patterns = [pattern for pattern in source.files if pattern not in names]
    named = [
        file
        for file in data
        if file in names or any(_matches(file, pattern) for pattern in patterns)
    ]
    unread = [file for file in named if kind_of(file) is None]
    if unread and (is_own or len(unread) == len(named)):
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        raise RecipeError(
            f"`{key}.dataset`: {place}: {unread[0]}{more}: not a kind that is read ({READ}); "
            "name those to read under `files`"
        )
    if not named:
        seen = f"; they are {', '.join(data[:5])}{', …' if data[5:] else ''}" if data else ""
        raise RecipeError(
            f"`{key}.files`: none of the {len(data)} data files of {place} matches "
            f"{', '.join(source.files)}{seen}"
        )
    if unread:
        log.info("  %s: %s: %d files of other kinds are not read", key, place, len(unread))
    return [file for file in named if kind_of(file) is not None]


def _matches(file: str, pattern: str) -> bool:
    return file == pattern or fnmatchcase(file, pattern)


def reader(
    source: Source,
    parent: Parent | None,
    seed: int,
    maths_documents: int,
    removed: Callable[[str], Removed],
) -> tuple[PipelineStep, list[str]]:
    """The reader of a source, and the files that it reads, which are downloaded here."""
    if parent is None:
        if source.name not in NAMES:
            raise RecipeError(
                f"`sources`: {source.name} is no local source ({', '.join(NAMES)}); "
                "give `dataset` for one on the Hub"
            )
        return LocalReader(source.name, source.max_bytes, seed, maths_documents), []
    files = chosen_files(source, parent, seed)
    top = own.PLACE if is_path(source.dataset) else ""
    folder = pull.fetch(parent, [str(Path(top, file)) for file in files]) / top
    heads.prove(source, parent.key, folder, files)
    given: dict[str, Any] = vars(source)
    return Reader(str(folder), files, removed("unreadable"), given), files

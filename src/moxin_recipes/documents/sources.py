"""Which files of a source are read: a seeded choice of those that match, downloaded alone."""

import random
from collections.abc import Callable
from fnmatch import fnmatch
from glob import escape
from typing import Any

from datatrove.pipeline.base import PipelineStep

from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.local import NAMES, LocalReader
from moxin_recipes.documents.readers import Reader
from moxin_recipes.hub import pull
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.keys.data import Source
from moxin_recipes.recipe.strict import RecipeError

_PACKED = ("", ".gz", ".zst", ".zstd")
READABLE = (".parquet", *(f"{kind}{packed}" for kind in (".jsonl", ".json") for packed in _PACKED))


def chosen_files(source: Source, parent: Parent, seed: int) -> list[str]:
    """The files of a source, sorted: a share of those that match its patterns, by the seed."""
    listed = [file for file in pull.files(parent) if file.endswith(READABLE)]
    # A name matches itself alone: files listed one by one are not held against each other.
    names = {pattern for pattern in source.files if escape(pattern) == pattern}
    patterns = [pattern for pattern in source.files if pattern not in names]
    matching = [
        file
        for file in listed
        if file in names or any(fnmatch(file, pattern) for pattern in patterns)
    ]
    if not matching:
        raise RecipeError(
            f"`{parent.key}.files`: none of the {len(listed)} data files of {parent.repo} "
            f"matches {', '.join(source.files)}"
        )
    if not 0 < source.file_share <= 1:
        raise RecipeError(f"`{parent.key}.file_share` must lie above 0 and at 1 or below")
    count = max(1, round(source.file_share * len(matching)))
    return sorted(random.Random(f"{seed} {source.name}").sample(matching, count))


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
    folder = pull.fetch(parent, files)
    given: dict[str, Any] = vars(source)
    return Reader(str(folder), files, removed("unreadable"), given), files

"""Filters of documents: one file each, found by the name that a recipe gives.

A new filter is a new file here, `NAME.py`, with a function `block(given: Given)`; its numbers and
their sources stand in that file.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moxin_recipes.recipe.keys.data import DocumentKeys, Source

if TYPE_CHECKING:  # `moxin check` asks for names alone, and the libraries take seconds to load
    from datatrove.pipeline.base import PipelineStep

    from moxin_recipes.documents.columns import Removed
    from moxin_recipes.hub.pull import Pull


@dataclass(frozen=True)
class Given:
    """What a filter is built from: the source it is for, all keys of the recipe, its writer."""

    source: Source
    keys: DocumentKeys
    removed: "Removed"  # writes the documents that the filter takes out
    pull: "Pull"


def names() -> list[str]:
    """The names that a recipe may use, in order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def block(name: str, given: Given) -> "PipelineStep":
    """The datatrove block of the filter `name`."""
    made: PipelineStep = importlib.import_module(f"{__name__}.{name}").block(given)
    return made

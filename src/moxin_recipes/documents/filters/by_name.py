"""The names of a recipe's filters → datatrove blocks, with the numbers of their sources."""

from collections.abc import Callable
from pathlib import Path

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import (
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from moxin_recipes.documents.columns import Removed
from moxin_recipes.documents.filters.classifier import Classifier
from moxin_recipes.documents.filters.lines import Lines
from moxin_recipes.documents.filters.short import Short
from moxin_recipes.documents.filters.urls import Urls
from moxin_recipes.documents.normalize import BlankLines
from moxin_recipes.documents.words import WORDS
from moxin_recipes.recipe.keys.data import DocumentKeys, Source
from moxin_recipes.recipe.strict import RecipeError

Pull = Callable[[str, list[str]], Path]  # (recipe key, patterns) → folder of a pinned input


def block(
    name: str, source: Source, own: DocumentKeys, removed: Removed, pull: Pull
) -> PipelineStep:
    """One filter of a source. Numbers not given here are datatrove's, which are the sources' own.

    gopher_quality: 50 to 100,000 words, mean length 3 to 10, symbols 0.1, bullets 0.9, ellipses
    0.3, words with a letter 0.8, 2 distinct stop words (DCLM counts each occurrence).
    gopher_repetition: MassiveText's table A1. fineweb_quality: arXiv 2406.17557.
    """
    if name == "short":
        return Short(source.min_characters, exclusion_writer=removed)
    if name in ("language", "classifier"):
        given = getattr(own, name)
        if given is None:
            raise RecipeError(f"`{name}`: the filter of that name needs a model")
        model = pull(name, [given.file]) / given.file
        if not model.is_file():
            raise RecipeError(f"`{name}.file`: there is no {given.file} in {given.model}")
        return Classifier(
            str(model), given.label, given.threshold, reason=name, exclusion_writer=removed
        )
    if name == "gopher_quality":
        return GopherQualityFilter(language=WORDS, exclusion_writer=removed)
    if name == "gopher_repetition":
        return GopherRepetitionFilter(language=WORDS, exclusion_writer=removed)
    if name == "fineweb_quality":
        return FineWebQualityFilter(language=WORDS, exclusion_writer=removed)
    plain = {"blank_lines": BlankLines, "url": Urls, "lines": Lines}
    return plain[name](exclusion_writer=removed)

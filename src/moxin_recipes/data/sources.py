"""Raw documents of each source, from this machine or from a dataset on the Hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moxin_recipes.arguments import DataArguments, Source
from moxin_recipes.data import arithmetic_rows, local_text
from moxin_recipes.data.chat import load_split
from moxin_recipes.strict import RecipeError

MATHS = "maths-text"


def documents(
    source: Source, position: int, folder: Path | None, arguments: DataArguments
) -> Iterator[dict[str, Any]]:
    """`text`, `source`, `license`, `origin` of each document, up to the source's `max_bytes`.

    `folder` holds the downloaded repository of a source that is on the Hub.
    """
    left = source.max_bytes
    for document in _all(source, position, folder, arguments):
        if left is not None:
            left -= len((document["text"] or "").encode("utf-8", "surrogatepass"))
            if left < 0:
                return
        yield document


def _all(
    source: Source, position: int, folder: Path | None, arguments: DataArguments
) -> Iterator[dict[str, Any]]:
    if folder is not None:
        yield from _hub_documents(source, position, folder)
    elif source.name == MATHS:
        yield from arithmetic_rows.maths_documents(
            "train", arguments.seed, arguments.maths_documents
        )
    elif source.name in local_text.SOURCES:
        yield from local_text.SOURCES[source.name]()
    else:
        known = ", ".join([*local_text.SOURCES, MATHS])
        raise RecipeError(
            f"`sources[{position}].name`: {source.name} is no local source ({known}); "
            "give `dataset` for one on the Hub"
        )


def _hub_documents(source: Source, position: int, folder: Path) -> Iterator[dict[str, Any]]:
    key = f"sources[{position}]"
    rows = load_split(folder, source.config, source.split, [source.text_column], key)
    for number, row in enumerate(rows):
        yield {
            "text": row[source.text_column],
            "source": source.name,
            "license": row.get("license") or source.license,
            "origin": f"{source.dataset}/{source.split}/{number}",
        }

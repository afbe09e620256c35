"""From the sources of a recipe to clean documents: every step, in its order."""

from collections.abc import Callable, Iterator
from pathlib import Path

from moxin_recipes.documents import account, evaluation_sets
from moxin_recipes.documents.local import MATHS
from moxin_recipes.documents.normalize import digest
from moxin_recipes.documents.pipeline import Documents, Row, cut
from moxin_recipes.hub.pull import Parent, Pull
from moxin_recipes.problems import arithmetic_rows
from moxin_recipes.recipe.keys.data import DataKeys


def prepare(
    keys: DataKeys,
    folder: Path,
    pull: Pull,
    parent: Callable[[str], Parent],
    problems: Path | None,
) -> Documents:
    """The documents after the last step; the steps lie in `folder`, those of other runs too.

    `pull` and `parent` give the folder and the commit of an input by its key; `problems` holds the
    problem sets of this stage, which may be among the items that no document may hold.
    RecipeError for a source of which nothing is left.
    """
    documents = Documents(keys, folder, pull, parent)
    for position, source in enumerate(keys.sources):
        pinned = None if source.dataset == "local" else parent(f"sources[{position}]")
        documents.clean(source, pinned, keys.seed, keys.maths_documents)
        account.check(documents, source.name)
    documents.exact()
    documents.bloom()
    documents.minhash()
    for source in keys.sources:
        documents.late(source)
    if keys.decontaminate:
        decontaminate(documents, keys, problems)
    for source in keys.sources:
        account.check(documents, source.name)
    return documents


def decontaminate(documents: Documents, keys: DataKeys, problems: Path | None) -> None:
    """Takes the evaluation items of a recipe out of the documents of each source."""

    def measured() -> Iterator[Row]:
        for source in keys.sources:
            yield from cut(documents.rows(source.name, "heldout"), keys.heldout_bytes)

    wanted = keys.decontaminate
    reads = evaluation_sets.reads(wanted, documents.parent, problems)
    if any(one.dataset == "heldout" for one in wanted):
        reads += [documents.heldout_digest(), keys.heldout_bytes]
    items = evaluation_sets.items(wanted, documents.pull, problems, measured)
    index = documents.look_for(items, reads)
    for source in keys.sources:
        documents.decontaminate(source, index)


def first_texts(documents: Documents, characters: int) -> Iterator[str]:
    """Training texts of each source up to that many characters, for a tokenizer to learn from."""
    for source in documents.keys.sources:
        left = characters
        for document in documents.rows(source.name, "train"):
            if left <= 0:
                break
            yield document["text"]
            left -= len(document["text"])


def heldout(name: str, documents: Documents, keys: DataKeys) -> Iterator[Row]:
    """The first `heldout_bytes` of the held-out documents; for maths, sums of the test split."""
    rows = documents.rows(name, "heldout")
    if name == MATHS:
        made = arithmetic_rows.maths_documents("test", keys.seed, 2000)
        distinct = {row["text"].strip(): row for row in made}
        rows = ({**row, "text": text, "id": digest(text)} for text, row in distinct.items())
    return cut(rows, keys.heldout_bytes)

"""What became of each source: read, taken out by which block for which reason, and kept."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from moxin_recipes.documents.pipeline import Documents
from moxin_recipes.documents.steps import Gone, Step, Written
from moxin_recipes.hub.cards.tables import cell
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
# Block → the recipe key to change, where it is another one than the list that names the filter.
_KEYS = {
    "unreadable": "sources[{at}].files",
    "normalize": "sources[{at}].text_column",
    "short": "sources[{at}].min_characters",
    "language": "language.threshold",
    "classifier": "classifier.threshold",
    "exact": "sources[{at}].dedup",
    "bloom": "sources[{at}].dedup",
    "minhash": "sources[{at}].dedup",
    "decontaminate": "decontaminate",
}


@dataclass
class Account:
    """One source: documents and bytes of text (UTF-8), each as it was when it was counted.

    `gone` has one entry for each block and reason, in the order of the steps, with its step.
    """

    source: str
    kept: tuple[int, int]
    gone: dict[tuple[str, str], tuple[Step, int, int]] = field(default_factory=dict)

    @property
    def read(self) -> tuple[int, int]:
        """All that was kept or taken out."""
        documents, size = self.kept
        for _, number, more in self.gone.values():
            documents, size = documents + number, size + more
        return documents, size

    def add(self, step: Step, gone: Gone) -> None:
        """Counts what one task took out."""
        of = (gone.block, gone.reason)
        _, documents, size = self.gone.get(of, (step, 0, 0))
        self.gone[of] = (step, documents + gone.documents, size + gone.bytes)


def of_source(documents: Documents, source: str) -> Account:
    """The account of a source after the steps so far."""
    files: list[Written] = documents.files[source]
    kept = (sum(file.documents for file in files), sum(file.bytes for file in files))
    account = Account(source, kept)
    for step in documents.steps:
        for gone in step.gone():
            if gone.source == source:
                account.add(step, gone)
    return account


def check(documents: Documents, source: str) -> None:
    """Raises RecipeError for a source without a document to train on; it says what took them."""
    if documents.training(source):
        return
    account = of_source(documents, source)
    line = _line(documents, account)
    if line is None:
        at = _position(documents, source)
        raise RecipeError(
            f"`sources[{at}].heldout_fraction`: all documents of {source} are held out"
            if documents.files[source]
            else f"`sources[{at}].files`: no document of {source} was read"
        )
    raise RecipeError(f"{line.key}: nothing of {source} is left to train on; {line}")


def say(documents: Documents) -> None:
    """Logs the table, and loudly the sources of which more than half went."""
    log.info("%s", "\n".join(("the documents of each source", *table(documents))))
    for source in documents.files:
        line = _line(documents, of_source(documents, source))
        if line is not None:
            lost.warn(line)


def _line(documents: Documents, account: Account) -> lost.Line | None:
    if not account.gone:
        return None
    blocks: Counter[str] = Counter()
    for (block, _), (_, number, _) in account.gone.items():
        blocks[block] += number
    ((block, _),) = blocks.most_common(1)
    of_block = {reason: one for (by, reason), one in account.gone.items() if by == block}
    reason = max(of_block, key=lambda reason: of_block[reason][1])
    step = of_block[reason][0]
    reasons: Counter[str] = Counter()
    for (_, why), (_, number, _) in account.gone.items():
        reasons[why] += number
    return lost.Line(
        what=f"documents of {account.source}",
        total=account.read[0],
        reasons=reasons,
        key=_key(documents, account.source, step, block),
        examples=list(_examples(step, block, account.source, reason)),
    )


def _key(documents: Documents, source: str, step: Step, block: str) -> str:
    """The recipe key that decides what a block takes out of a source, with its value."""
    at = _position(documents, source)
    lists = "late_filters" if step.name.startswith("late-") else "filters"
    return f"`{_KEYS.get(block, f'sources[{{at}}].{lists}').format(at=at)}`"


def _position(documents: Documents, source: str) -> int:
    return [one.name for one in documents.keys.sources].index(source)


def _examples(step: Step, block: str, source: str, reason: str) -> Iterator[str]:
    """Texts that a block took out for a reason, the first ones."""
    left = lost.EXAMPLES
    for file in sorted((step.folder / "removed" / block).glob("*.parquet")):
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(100, columns=["text", "source", "reason"]):
                for row in batch.to_pylist():
                    if left and (row["source"], row["reason"]) == (source, reason):
                        left -= 1
                        yield row["text"]
                if not left:
                    return


def table(documents: Documents) -> list[str]:
    """Lines of Markdown: what was read of each source, what went and why, what was kept."""
    lines = [
        "| source | what | documents | share | MB of text |",
        "|---|---|---:|---:|---:|",
    ]
    for source in documents.files:
        account = of_source(documents, source)
        total = account.read[0]
        gone = [(reason, number, size) for (_, reason), (_, number, size) in account.gone.items()]
        rows = [("read", *account.read), *gone, ("kept", *account.kept)]
        for what, number, size in rows:
            share = f"{number / total:.1%}" if total else "–"
            name = f"**{what}**" if what == "kept" else cell(what)
            lines.append(f"| {source} | {name} | {number:,} | {share} | {size / 1e6:,.2f} |")
    return lines

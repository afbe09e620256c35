"""Evaluation sets → an index of their n-grams; hits → a report and a list of items."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moxin_recipes.documents.grams import gram_hashes, word_hashes
from moxin_recipes.documents.index import ANY, COVERED, SHORTEST, SIZES, WHOLE, words

FOUND, NOT_FOUND, TOO_SHORT = "found", "not found", "too short to look for"
SHOWN = 500  # characters of an item in the published list
Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One evaluation item: `parts` are the question first, then each column of answers.

    `columns` name the parts, `item` is its place in the set.
    """

    set: str
    item: str
    parts: list[str]
    rules: tuple[str, ...] = (COVERED, ANY)
    columns: tuple[str, ...] = ("text",)


def digest_of(columns: Sequence[str], parts: list[str]) -> str:
    """What identifies an item wherever it is met: the sha256 of its columns' names and texts."""
    return hashlib.sha256(json.dumps([list(columns), parts]).encode()).hexdigest()


@dataclass
class _Grams:
    """The n-grams of one rule and size while they are collected."""

    grams: list[np.ndarray] = field(default_factory=list)
    texts: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)

    def add(self, hashes: np.ndarray, n: int, text: int) -> None:
        hashed = gram_hashes(hashes, [n])[n]
        self.grams.append(hashed)
        self.texts.append(np.full(len(hashed), text, np.int32))
        self.places.append(np.arange(len(hashed), dtype=np.int32))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grams = np.concatenate(self.grams)
        order = np.argsort(grams, kind="stable")
        return grams[order], np.concatenate(self.texts)[order], np.concatenate(self.places)[order]


def write_index(items: Iterable[Item], folder: Path) -> None:
    """Writes `index.npz`, `texts.parquet` (one row a text looked for) and `items.parquet`.

    The texts of an item are its question, each column of answers, and all of them in a row. One of
    fewer than 8 words is not looked for by itself, except the question, as a whole, if it has at
    least 5: shorter ones are in every other page. Items without a text to look for are listed.
    The rule `whole` looks for questions of any length that way: sums of one digit share half of
    their words with each other, so that the rule of 8-grams would take out one in eight.
    """
    collected: dict[str, _Grams] = {}
    lengths: list[int] = []
    texts: list[Row] = []
    listed: list[Row] = []
    for item in items:
        before = len(texts)
        whole = [*item.parts, " ".join(item.parts)] if len(item.parts) > 1 else item.parts
        for position, text in enumerate(whole):
            hashes = word_hashes(words(text))
            sizes = _sizes(item, len(hashes), position == 0)
            for rule, n in sizes.items():
                collected.setdefault(f"{rule}/{n}", _Grams()).add(hashes, n, len(texts))
            if sizes:
                texts.append({"set": item.set, "item": item.item})
                lengths.append(len(hashes))
        listed.append(
            {
                "set": item.set,
                "item": item.item,
                "columns": list(item.columns),
                "digest": digest_of(item.columns, item.parts),
                "text": item.parts[0][:SHOWN],
                "looked_for": len(texts) > before,
            }
        )
    arrays: dict[str, Any] = {"lengths": np.array(lengths, np.int32)}
    for name, grams in collected.items():
        for part, array in zip(("grams", "texts", "places"), grams.arrays(), strict=True):
            arrays[f"{name}/{part}"] = array
    begun = folder.with_name(f"{folder.name}-begun")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    np.savez(begun / "index.npz", **arrays)
    schema = pa.schema([("set", pa.string()), ("item", pa.string())])
    pq.write_table(pa.Table.from_pylist(texts, schema), begun / "texts.parquet")
    pq.write_table(pa.Table.from_pylist(listed), begun / "items.parquet")
    begun.rename(folder)  # whole or not there


def _sizes(item: Item, count: int, question: bool) -> dict[str, int]:
    """Rule → the words of a gram, for each rule by which a text of `count` words is looked for."""
    sizes = {rule: n for rule, n in SIZES.items() if rule in item.rules and n <= count}
    short = count < min(SIZES.values()) or WHOLE in item.rules
    if question and short and count >= SHORTEST:
        sizes[WHOLE] = count
    return sizes


def cell(row: Row, column: str) -> str:
    """The text of a column, of a field in it (`choices.text`), lists joined by a space."""
    value: Any = row
    for name in column.split("."):
        value = value[name]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def names_of(folder: Path) -> list[tuple[str, str]]:
    """(set, item) of each text of the index in `folder`, in the order of their numbers."""
    columns = pq.read_table(folder / "texts.parquet", columns=["set", "item"]).to_pydict()
    return list(zip(columns["set"], columns["item"], strict=True))


def reason(name: str, rule: str) -> str:
    """Why a document or a row goes: it holds an item of the set `name`, as `rule` says."""
    return f"contaminated: {name} ({rule})"


def report(folder: Path, matches: Sequence[Row], sources: list[str]) -> tuple[list[Row], list[Row]]:
    """Rows by source and set, and all items with what the search says of each (`status`).

    `folder` has the index; a match has `source`, `id` of the document, `set`, `item` and `rule`.

    A row counts `documents` (or chats, pairs, problems) that were taken out, by rule (one may hold
    items by several) and in all, and the `found_items` of the set's `items`, of which `too_short`
    were not looked for. A set that nothing was found of has rows, too.
    """
    items = pq.read_table(folder / "items.parquet").to_pylist()
    total = Counter(item["set"] for item in items)
    short = Counter(item["set"] for item in items if not item["looked_for"])
    rows = []
    for source in sources:
        for name in total:
            here = [hit for hit in matches if hit["source"] == source and hit["set"] == name]
            by_rule = {
                rule: len({hit["id"] for hit in here if hit["rule"] == rule})
                for rule in (COVERED, ANY, WHOLE)
            }
            rows.append(
                {
                    "source": source,
                    "set": name,
                    "documents": len({hit["id"] for hit in here}),
                    **{f"documents by {rule}": count for rule, count in by_rule.items()},
                    "found_items": len({hit["item"] for hit in here}),
                    "items": total[name],
                    "too_short": short[name],
                }
            )
    return rows, list(_items(items, matches))


def _items(items: list[Row], matches: Sequence[Row]) -> Iterator[Row]:
    documents: dict[tuple[str, str], set[str]] = {}
    rules: dict[tuple[str, str], set[str]] = {}
    for hit in matches:
        key = (hit["set"], hit["item"])
        documents.setdefault(key, set()).add(f"{hit['source']} {hit['id']}")
        rules.setdefault(key, set()).add(hit["rule"])
    for item in items:
        key = (item["set"], item["item"])
        missed = NOT_FOUND if item.pop("looked_for") else TOO_SHORT
        yield {
            **item,
            "status": FOUND if key in documents else missed,
            "rules": sorted(rules.get(key, ())),
            "documents": len(documents.get(key, ())),
        }

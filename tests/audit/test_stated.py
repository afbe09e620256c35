"""What a card says beside its manifest: figures, licences, and metadata that nobody can read."""

import copy
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.audit.pushed import KINDS, PAYLOAD, card

from moxin_recipes.audit import replay, stated, told_by
from moxin_recipes.hub.code import pinned

# How the heads of tables begin whose rows are named by these cells.
LABELS = (
    *("model | task | metric", "source | evaluation set", "stage | measure"),
    *("looked for by | evaluation set", "metric", "what", "of", "data", "stage"),
)


def tables(page: str) -> Iterator[tuple[int, str]]:
    """Each row of a card's tables, and how many of its cells name it."""
    label, lines = 0, page.splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith("|---"):
            head = before.removeprefix("| ")
            label = next(len(one.split(" | ")) for one in LABELS if head.startswith(f"{one} |"))
        elif label and line.startswith("| "):
            yield label, line
        else:
            label = 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_as_its_manifest(kind: str, tmp_path: Path) -> None:
    page, told = card(kind, tmp_path)
    assert told_by.is_whole(told)
    assert told_by.says_how(told) == (kind != "a gguf")
    assert list(stated.faults(page, told)) == []
    assert stated.changes(page, page) == ([], 0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_figure_of_each_table_is_that_of_the_manifest(kind: str, tmp_path: Path) -> None:
    page, told = card(kind, tmp_path)
    rows = list(tables(page))
    assert rows
    for label, row in rows:
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        for at in range(label, len(cells)):
            changed = [text.strip() for text in cells]
            changed[at] += "9"
            said = " | ".join(changed)
            for new in (f"| {said} |", f"{row}\n| {said} |"):
                faults = list(stated.faults(page.replace(row, new), told))
                assert any(f"it says `{said}`, and its manifest" in one for one in faults), faults


@pytest.mark.parametrize("kind", KINDS)
def test_each_licence_stands_there(kind: str, tmp_path: Path) -> None:
    page, told = card(kind, tmp_path)
    listed = page[page.index("## Licences") :]
    rows = [row for _, row in tables(listed[: listed.index("\n## How to")])]
    assert bool(rows) == bool(told["licenses"])
    for row in rows:
        faults = list(stated.faults(page.replace(f"{row}\n", ""), told))
        assert any(one.startswith("it does not say that ") for one in faults), row


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("license: other", "license: MIT", "it says `license: MIT`, and its manifest other"),
        ("license: other", "license: [other, mit]", "it says `license: ['other', 'mit']`"),
        ("license_name: several", "x: 1", "it says `license_name: None`"),
        ("---\nlic", "---\n- [lic", "it says `license: None`"),
        ("---\nlic", "- a\n---\nlic", "it says `license: None`"),
        ("0.2500 | 0.0300", "0.2600 | 0.0300", "and its manifest `0.2500 | 0.0300`"),
        ("| loss | – | – |", "|loss|0.1| – |", "it says `loss | 0.1 | –`"),
        ("| a/b@1 | MIT; ODC-By |", "| a/b@1 | MIT |", "manifest `MIT; ODC-By`"),
        ("CC-BY-NC-4.0 (non-commercial)", "MIT", "manifest `CC-BY-NC-4.0 (non-commercial)`"),
        (PAYLOAD, "0" * 64, "it does not name its payload"),
    ],
)
def test_a_card_that_says_otherwise(old: str, new: str, fault: str, tmp_path: Path) -> None:
    page, told = card("a model", tmp_path)
    assert old in page
    edited = page.replace(old, new)
    faults = list(stated.faults(edited, told))
    assert any(fault in said for said in faults), faults
    assert stated.changes(edited, page)[0] or "- a" in edited or "---\n- [" in edited


def test_what_its_owner_adds_and_moves(tmp_path: Path) -> None:
    page, told = card("a model", tmp_path)
    head, _, text = page.partition("\n---\n\n")
    own = "Prose of 3 lines.\n\n| mine | 1 |\n|---|---|\n| yours | 2 |\n"
    block = "<!-- scores of moxin-recipes -->\n"
    text = text.replace(block, f"{block}| t | 0.1 |\n")
    edited = f"{head}\nlanguage: en\nmodel-index: []\n---\n{own}{text}"
    assert stated.changes(edited, page) == ([], 3)
    assert list(stated.faults(edited, told)) == []
    first, middle, rest = text.partition("## Licences")
    assert stated.changes(f"{head}\n---\n{middle}{rest}\n{first}", page) == ([], 0)
    assert stated.changes(page.replace("# a/b", "# My card"), page) == ([], 1)
    row = "| ended | 12,345 | – |"
    gone, _ = stated.changes(page.replace(row, f"{row}\n| best | yes | – |"), page)
    assert gone == ["`| best | yes | – |` stands among what its stage wrote"]


@pytest.mark.parametrize("name", ["metrics", "counts", "checkpoints", "release", "distributions"])
@pytest.mark.parametrize("value", [[1], "x", 5])
def test_a_manifest_of_another_shape_is_not_whole(name: str, value: object) -> None:
    told = KINDS["a model"][2]
    assert not told_by.is_whole({**told, name: value})
    assert not told_by.is_whole({**told, "scores": [value]})
    assert not told_by.is_whole({**told, "release": {"scores": value}})
    assert not told_by.is_whole({**told, "release": {"scores": [{"before": value}]}})
    assert not told_by.says_how({**told, "parents": value})
    assert not told_by.says_how({**told, "code": {"patch": value if value != "x" else [value]}})


STRANGE: list[Any] = [
    *(None, True, -1, 10**400, float("inf"), "x", "\0", "sources[7]", "x[" + "9" * 5000 + "]"),
    *([], [1], [None], {}, {"a": 1}, [[]], [{}], [{"value": 1, "low": "x"}]),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place below a value, as the mapping or list that holds it and its key there."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_broken_manifest_says_is_read_or_refused(kind: str) -> None:
    told = json.loads(json.dumps(KINDS[kind][2]))
    refused = 0
    for within, key in places(told):
        kept = within[key]
        for strange in STRANGE:
            within[key] = strange
            if told_by.is_whole(told):
                assert list(stated.faults("", told))
            else:
                refused += 1
            if told_by.says_how(told):
                assert pinned(told["code"])
                values = copy.deepcopy(told["recipe"])
                for pin in told_by.parents(told["parents"]) or []:
                    replay.name_pushed(values, pin)
                assert replay.recipe_path(Path("x"), told["recipe_file"])
        within[key] = kept
    assert refused > 100

"""What a card says beside its manifest: figures, licences, and metadata that nobody can read."""

from typing import Any

import pytest

from moxin_recipes.audit import stated, told_by

TOLD: dict[str, Any] = {
    "payload": "f" * 64,
    "key": "e" * 64,
    "files": {},
    "licenses": [{"license": "MIT", "of": "a/b@1"}, {"license": "CC-BY-NC-4.0", "of": "a|c@2"}],
    "metrics": {"accuracy": 0.25, "loss": None},
    "counts": {"rows": 3, "accuracy": 7},
    "scores": [{"model": "m", "task": "t", "metric": "x", "value": 0.5, "failed": None}],
    "release": {
        "scores": [{"stage": "30-sft", "measure": "loss", "before": None, "after": {"value": 1.5}}]
    },
}
CARD = f"""---
license: other
license_name: several
license_link: '#licences'
tags: [x]
---

# A card

| metric | value |
|---|---|
| accuracy | 0.25 |
| loss | None |
| rows | 3 |

| m | t | x | 0.5000 | – | 4 | – |
| 30-sft | loss | – | 1.5000 (1.4000 to 1.6000) | 4 |

| MIT | a/b@1 |
| CC-BY-NC-4.0 (non-commercial) | a\\|c@2 |

Payload `{"f" * 64}`.
"""


def test_a_card_as_its_manifest() -> None:
    assert told_by.is_whole(TOLD)
    assert list(stated.faults(CARD, TOLD)) == []
    assert stated.changes(CARD, CARD) == ([], 0)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("license: other", "license: MIT", "it says `license: MIT`, and its manifest other"),
        ("license: other", "license: [other, mit]", "it says `license: ['other', 'mit']`"),
        ("license_name: several", "x: 1", "it says `license_name: None`"),
        ("---\nlic", "---\n- [lic", "it says `license: None`"),
        ("---\nlic", "- a\n---\nlic", "it says `license: None`"),
        ("| accuracy | 0.25 |", "| accuracy | 0.26 |", "it says `accuracy | 0.26`"),
        ("| loss | None |", "|loss|0.1|", "it says `loss | 0.1`"),
        ("| rows | 3 |", "| rows | 3 |\n| rows | 4 |", "it says `rows | 4`"),
        ("0.5000", "0.9000", "and its manifest 0.5000"),
        ("| – | 1.5000", "| 9.0000 | 1.5000", "and its manifest –"),
        ("1.5000 (", "1.2000 (", "and its manifest 1.5000"),
        ("| MIT |", "| CC0-1.0 |", "a/b@1 is under CC0-1.0, and its manifest MIT"),
        ("| MIT |", "| MIT | a/b@1 |\n| CC0-1.0 |", "a/b@1 is under CC0-1.0, MIT, and"),
        ("CC-BY-NC-4.0 (non-commercial)", "MIT", "is under MIT, and its manifest CC-BY-NC-4.0"),
        ("f" * 64, "0" * 64, "it does not name its payload"),
    ],
)
def test_a_card_that_says_otherwise(old: str, new: str, fault: str) -> None:
    assert old in CARD
    card = CARD.replace(old, new)
    assert any(fault in said for said in stated.faults(card, TOLD)), list(stated.faults(card, TOLD))
    assert stated.changes(card, CARD)[0] or "- a" in card or "---\n- [" in card


def test_what_its_owner_adds_and_moves() -> None:
    head, _, text = CARD.rpartition("---\n")
    own = "Prose of 3 lines.\n\n| mine | 1 |\n|---|---|\n| yours | 2 |\n"
    table = "<!-- scores of moxin-recipes -->\n| t | 0.1 |\n<!-- end of scores -->\n"
    card = f"{head}language: en\nmodel-index: []\n---\n{own}{table}{text}"
    assert stated.changes(card, CARD) == ([], 3)
    assert list(stated.faults(card, TOLD)) == []
    first, _, rest = text.partition("| m | t |")
    assert stated.changes(f"{head}---\n| m | t |{rest}\n{first}", CARD) == ([], 0)
    assert stated.changes(CARD.replace("# A card", "# My card"), CARD) == ([], 1)
    gone, _ = stated.changes(CARD.replace("| rows | 3 |", "| rows | 3 |\n| best | yes |"), CARD)
    assert gone == ["`| best | yes |` stands among what its stage wrote"]


@pytest.mark.parametrize("name", ["metrics", "counts", "checkpoints", "release", "distributions"])
@pytest.mark.parametrize("value", [[1], "x", 5])
def test_a_manifest_of_another_shape_is_not_whole(name: str, value: object) -> None:
    assert not told_by.is_whole({**TOLD, name: value})
    assert not told_by.is_whole({**TOLD, "scores": [value]})
    assert not told_by.is_whole({**TOLD, "release": {"scores": value}})
    assert not told_by.says_how({**TOLD, "stage": "sft", "parents": value})

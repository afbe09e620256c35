"""The Hub's own reader of card metadata agrees with PyYAML on whatever it accepts."""

from __future__ import annotations

import pytest
import yaml
from huggingface_hub.utils import yaml_dump
from hypothesis import given, settings
from hypothesis import strategies as st

from moxin_hub.card import fault
from moxin_hub.card_yaml import Unsupported, YamlError, parse

_AWKWARD = [
    "plain",
    "a: b",
    "#x",
    "- x",
    "",
    "'q'",
    '"d"',
    "two\nlines",
    "true",
    "1.0",
    "end:",
    "[x",
    "a\n\nb\n",
    "null",
    "&a",
    "*",
    "!t",
    "2020-01-01",
    "@x",
    "trail ",
    "1e5",
    "?",
    "~",
    "é—ü",
]
_TEXT = st.one_of(
    st.sampled_from(_AWKWARD),
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20),
)
_SCALAR = st.one_of(_TEXT, st.integers(-(10**9), 10**9), st.booleans(), st.none())
_VALUE = st.recursive(
    _SCALAR,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.from_regex(r"\A[a-z_-]{1,8}\Z"), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z_]{0,8}\Z"), _VALUE, min_size=1, max_size=5))
def test_what_libraries_write_is_read(value: dict[str, object]) -> None:
    text = yaml_dump(value)
    assert parse(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: |\n  x\n   y\nb: >-\n  p\n  q\n",
        "a: http://x.y/z # comment\nb: 'it''s'\nc: foo\n  bar baz\n",
        "configs:\n- config_name: a\n  data_files:\n  - split: train\n    path: data/train-*\n",
        "k: [a,\n  b, {c: d, e: [f]}]\nl: {}\nm: []\n",
        'x: "multi\n\n  line"\ny: -x\n',
        "# only a comment\n",
    ],
)
def test_what_people_write_is_read(text: str) -> None:
    assert parse(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    ["a: [1", "a: 'x", "a\nb: 1", "a: 1\n b: 2", "\ta: 1", "a: %x", "a: x\n- b", "a: 1\na: 2"],
)
def test_faults_are_named(text: str) -> None:
    with pytest.raises(YamlError):
        parse(text)
    assert fault(f"---\n{text}\n---\n# card")


@pytest.mark.parametrize(
    "text", ["a: &x 1\nb: *x", "a: !!str 1", "? a\n: b", "[" * 10_000 + "]" * 10_000, "- " * 5000]
)
def test_more_than_we_know_is_no_fault(text: str) -> None:
    with pytest.raises(Unsupported):
        parse(text)
    assert fault(f"---\n{text}\n---\n") is None
    assert fault("no metadata at all") is None
    assert fault("---\n- a list\n---\n") is not None


@pytest.mark.parametrize(
    "text",
    [
        "a: [\n" + ("x" * 1000 + ",\n") * 240,
        "a: x\n" + " y\n" * 80_000,
        'a: "\n' + ("z" * 1000 + "\n") * 240,
        "a: " + "{a: " * 45 + "x, " * 5000 + "}" * 45,
        "a: " + "[" * 45 + "x," * 100_000 + "]" * 45,
        "- " * 120_000,
        "k: " + "'" * 200_000,
    ],
    ids=["flow", "plain", "quoted", "mappings", "sequences", "items", "quotes"],
)
def test_texts_that_are_made_to_be_slow_end(text: str) -> None:
    """Each grew with the square of its length, or recursed; a hang fails by the suite's limit."""
    card = f"---\n{text}\n---\n"
    assert fault(card) is None or "line" in str(fault(card))

"""The metadata of cards: read as the clients wrote them, and harmless whatever stands there."""

from __future__ import annotations

import base64
import json

import pytest
import yaml
from huggingface_hub.utils import yaml_dump
from hypothesis import given, settings
from hypothesis import strategies as st
from running_hub import Hub

from moxin_hub import card
from moxin_hub.front_matter import FrontMatterError, NotReadHere, read, split

_AWKWARD = [
    *("plain", "a: b", "#x", "- x", "", "'q'", '"d"', "two\nlines", "true", "1.0", "end:", "[x"),
    *("a\n\nb\n", "null", "&a", "*", "!t", "@x", "trail ", "1e5", "?", "~", "é—ü", "no", "=", "<<"),
    *("2020-01-01", "1:30", "007", ".inf", "\t", "\x07", "😀"),
]
_TEXT = st.sampled_from(_AWKWARD) | st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=20
)
_NUMBER = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)
_VALUE = st.recursive(
    _TEXT | _NUMBER | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


def _card(metadata: str) -> str:
    return f"---\n{metadata}\n---\n# A card\n"


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z_]{0,8}\Z"), _VALUE, min_size=1, max_size=5))
def test_what_libraries_write_is_read(value: dict[str, object]) -> None:
    assert read(_card(yaml_dump(value))) == value


@pytest.mark.parametrize(
    "text",
    [
        "a: |\n  x\n   y\nb: >-\n  p\n  q\n",
        "a: >\n  folded\n\n  with an empty line\nb: >+\n  p\n\n\n  q\n\nc: 1\n",
        "a: http://x.y/z # comment\nb: 'it''s'\nc: foo\n  bar baz\n",
        "configs:\n- config_name: a\n  data_files:\n  - split: train\n    path: data/train-*\n",
        "k: [a,\n  b, {c: d, e: [f]}]\nl: {}\nm: []\n",
        'x: "multi\n\n  line"\ny: -x\n"q": \'a: b\'\n',
        "a:\n- - b\n  - c\n-\n  d: e\n- # a comment\n  f\n",
    ],
)
def test_what_people_write_is_read(text: str) -> None:
    assert read(_card(text)) == yaml.safe_load(text)
    assert read(_card(text).replace("\n", "\r\n")) == yaml.safe_load(text)


def test_types_are_those_that_json_and_the_public_hub_have() -> None:
    text = "a: 2020-01-01\nb: 2020-99-99\nc: no\nd: 1:30\ne: 007\nf: .nan\n1: x\n<<: {g: 1_0}\n"
    text += f"h: {'9' * 5000}\ni: -1.5e+3\nj: ~\nk: 9.9e+999\nl: =\n"
    got = read(_card(text))
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got == {
        **{"a": "2020-01-01", "b": "2020-99-99", "c": "no", "d": "1:30", "e": "007", "f": ".nan"},
        **{"1": "x", "<<": {"g": "1_0"}, "h": "9" * 5000, "i": -1500.0, "j": None},
        **{"k": "9.9e+999", "l": "="},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1", 3),
        ("a: 'x", 3),
        ("a\nb: 1", 3),
        ("a: 1\n b: 2", 3),
        ("\ta: 1", 2),
        ("a:\n\t- b", 3),
        ("a: %x", 2),
        ("a: x\n- b", 3),
        ("a: x: y", 2),
        ("a: -", 2),
        ("a: 1\nb: 2\na: 3", 4),
        ("a:\n  1: x\n  '1': y", 4),
        ("a: {b: 1,\n b: 2}", 3),
        ("- a list", 2),
        ("a scalar", 2),
        ("a: 1\nb: \x07", 3),
        ('a: 1\nb: "\\ud800"', 3),
        ("a: 1\n--- x\nb: 2", 3),
        ("a: 1\n...\nb: 2", 4),
        ("a: @b", 2),
        ('a: "\\U00110000"', 2),
        ('a: "\\UFFFFFFFF"', 2),
    ],
)
def test_a_fault_is_one_line_that_names_its_line(text: str, line: int) -> None:
    for newline in ("\n", "\r\n", "\r"):
        fault = card.fault(_card(text).replace("\n", newline))
        assert fault is not None
        assert fault.startswith(f"line {line}: ")
        assert "\n" not in fault
    with pytest.raises(FrontMatterError, match=f"line {line + 2}: "):
        read("\n\n" + _card(text))


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
        "a: !!str 1",
        "a: !!python/object/apply:os.getcwd []",
        "? [a]\n: b",
        "a:\n" + "".join(f"{' ' * depth}b:\n" for depth in range(1, 60)),
        "[" * 10_000 + "]" * 10_000,
        "- " * 60_000,
        "? " * 60_000,
        "a: 1\n" * 40_000,
    ],
)
def test_more_than_cards_need_is_no_fault_but_said(text: str) -> None:
    """The public Hub may take it, so that a card of there can be pushed here."""
    with pytest.raises(NotReadHere, match=r"^line \d+: .*$"):
        read(_card(text))
    assert card.fault(_card(text)) is None
    assert "does not read" in str(card.warning(_card(text)))


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("no metadata at all", ""),
        ("---\na: 1\nno line that closes them\n", ""),
        ("---\n---\n", ""),
        ("\ufeff---\na: 1\n---\n", "a: 1\n"),
        ("\n \n--- \t\na: 1\n---", "a: 1\n"),
        ("---\na: 1\n---x\n---\n", "a: 1\n---x\n"),
        ("text\n---\na: 1\n---\n", ""),
    ],
)
def test_where_metadata_stand(text: str, metadata: str) -> None:
    assert split(text)[0] == metadata
    assert (card.warning(text) == "empty or missing yaml metadata in repo card") == (not metadata)


@pytest.mark.parametrize(
    "text",
    [
        "a: [\n" + ("x" * 1000 + ",\n") * 120,
        "a: x\n" + " y\n" * 40_000,
        'a: "\n' + ("z" * 1000 + "\n") * 120,
        "a: " + "{a: " * 25 + "x, " * 5000 + "}" * 25,
        "a: " + "[" * 25 + "x," * 60_000 + "]" * 25,
        "k: " + "'" * 120_000,
        "a: |\n" + "\n" * 120_000,
        "a: " + ":" * 120_000,
        "#\n" * 60_000,
    ],
)
def test_texts_that_are_made_to_be_slow_end(text: str) -> None:
    """The worst takes some seconds; a hang fails by the suite's limit."""
    said = card.fault(_card(text))
    assert said is None or said.startswith("line ")


def test_the_client_is_told(hub: Hub) -> None:
    """Errors refuse a card, warnings do not; cards that are pushed nevertheless break no page."""

    def ask(text: str) -> tuple[int, list[str], list[str]]:
        body = json.dumps({"content": text, "repoType": "model"}).encode()
        status, _, answer = hub.request("POST", "/api/validate-yaml", body)
        said = json.loads(answer)
        errors, warnings = (
            [item["message"] for item in said[kind]] for kind in ("errors", "warnings")
        )
        return status, errors, warnings

    message = "Error: line 2: mapping values are not allowed here"
    assert ask(_card("a: x: y")) == (400, [message], [])
    assert ask(_card("license: mit")) == (200, [], [])
    status, errors, [warning] = ask(_card("a: &x 1\nb: *x"))
    assert (status, errors) == (200, [])
    assert "line 2: aliases, anchors and tags" in warning
    repo = hub.api().create_repo("moxin-org/cards").repo_id
    for text, data in (("a: x: y", None), ("tags: [b]\nd: 2020-01-01\ne: .nan", "2020-01-01")):
        content = base64.b64encode(_card(text).encode()).decode()
        lines = (
            {"key": "header", "value": {"summary": "card"}},
            {"key": "file", "value": {"path": "README.md", "content": content}},
        )
        commit = "\n".join(json.dumps(line) for line in lines).encode()
        status, _, _ = hub.request("POST", f"/api/models/{repo}/commit/main", commit)
        assert status == 200
        status, _, answer = hub.request("GET", f"/api/models/{repo}")
        assert status == 200
        assert json.loads(answer).get("cardData", {}).get("d") == data
        assert hub.request("GET", f"/{repo}", headers={"Accept": "text/html"})[0] == 200

"""Chats of one's own are looked at before anything runs: `moxin check` says what would be left."""

import gzip
import json
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.tiny import turns

from moxin_recipes.ladder import own_inputs
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError

RECIPE = ROOT / "recipes" / "moxin-nano" / "30-sft.yaml"
CHAT = {"messages": turns("Hi", "Ho")}


@pytest.fixture(autouse=True)
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose repository it would be is asked of a Hub."""
    monkeypatch.setattr("moxin_recipes.hub.own.qualified", "me/{}".format)


def prove(path: Path, *flags: str) -> None:
    own_inputs.proven([read(RECIPE, ["--dataset_name", str(path), *flags])])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            '{"instruction": "Hi", "output": "Ho"}',
            "no column `messages` or `conversations` (it has: i",
        ),
        (
            '{"messages": "Hi"}\n' * 300,
            "none of the first 100 rows of {path} is a chat: 100 messages i",
        ),
        (
            '{"messages": []}\n{"messages": [{"role": "critic", "content": 1}]}\n{"messages": []}',
            "none of the first 3 rows of {path} is a chat: 2 no turns, 1 unknown role critic; doc",
        ),
        (
            '{"messages": []}\n{"messages"',
            "chats.jsonl, line 2, is not JSON (Expecting ':' delimiter",
        ),
        ("Hi", "`dataset_name`: chats.jsonl, line 1, is not JSON (Expecting value at character 1)"),
        ("", "`dataset_name`: chats.jsonl holds no rows"),
        (
            '{"messages": [{"role": "user", "content": "Hi"}]}\n[1, 2]',
            "`dataset_name`: chats.jsonl, row 2, is a list; a row is an object that names its co",
        ),
        ('{"messages": ["Hi"]}', "none of the first 1 rows of {path} is a chat: 1 a turn in mess"),
        (
            '{"messages": NaN, "prompt": ["Hi"], "completion": NaN}',
            "none of the first 1 rows of {path} is a chat: 1 empty turn; docs/chats.md",
        ),
    ],
)
def test_a_file_without_a_chat_is_refused(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(content)
    with pytest.raises(RecipeError) as refused:
        prove(path)
    assert line.format(path=path) in str(refused.value)
    assert str(refused.value).startswith(f"{RECIPE}: `dataset_name`: ")
    assert "\n" not in str(refused.value)


def test_one_chat_is_enough(tmp_path: Path) -> None:
    lines = [{"messages": None}, {"messages": "no", "id": 3}, CHAT]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    prove(tmp_path / "b.jsonl")
    (tmp_path / "a.json").write_text('{"version": 1}')
    prove(tmp_path)
    with pytest.raises(RecipeError, match="`messages_column`: the dataset has no column `chat`"):
        prove(tmp_path, "--messages_column", "chat")
    (tmp_path / "c.json.gz").write_bytes(
        gzip.compress(json.dumps([{"chat": turns("Hi", "Ho")}]).encode())
    )
    prove(tmp_path, "--messages_column", "chat")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("ids.json", "[1, 2]", "ids.json, row 1, is a int; a row is an object that names its "),
        ("notes.json", '{"by": "me",', "notes.json, line 1, is not JSON (Expecting property name"),
        ("words.json", '["so"]', "words.json, row 1, is a str; a row is an object that names"),
    ],
)
def test_another_file_beside_chats_is_named_with_the_way_out(
    tmp_path: Path, name: str, content: str, line: str
) -> None:
    (tmp_path / "chats.jsonl").write_text(json.dumps(CHAT))
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=r"take (the file|it) away") as refused:
        prove(tmp_path)
    assert f"`dataset_name`: {line}" in str(refused.value)


def test_files_that_are_no_json_are_left_to_the_stage(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("messages\nHi\n")
    prove(tmp_path)
    prove(tmp_path / "a.csv")

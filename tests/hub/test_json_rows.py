"""JSON files whose rows differ: each is read as it stands there, or the line says which cannot."""

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.strict import RecipeError

HI = {"role": "user", "content": "Hi"}
HO = {"role": "assistant", "content": "Ho"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
PLAIN, TYPED = {"messages": [HI, HO]}, {"messages": [PARTS, HO]}


def load(folder: Path, split: str = "train", **files: str | bytes | list[Any]) -> Dataset:
    """Files by name, `_` for the dot; lists are lines."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        text = "\n".join(map(json.dumps, content)) if isinstance(content, list) else content
        data = text if isinstance(text, bytes) else text.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return load_split(folder, None, split, [], "dataset_name", json_as_text=True)


def read(rows: Dataset, column: str = "messages") -> list[Any]:
    return [text if text is None else json.loads(text) for text in rows[column]]


@pytest.mark.parametrize(
    "files",
    [
        {"a_jsonl": [PLAIN, TYPED]},
        {"a_jsonl": [PLAIN], "b_jsonl": [TYPED]},
        {"a_json": json.dumps([PLAIN, TYPED])},
        {"a_json": json.dumps([PLAIN, TYPED], indent=1)},
        {"a_json": json.dumps(PLAIN, indent=1), "b_jsonl": [TYPED]},
        {"a_jsonl": b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(), "b_json": json.dumps([TYPED])},
        {"a_jsonl": "\n" + json.dumps(PLAIN) + "\r\n\n \n" + json.dumps(TYPED) + "\n\n"},
        {"a_jsonl_gz": gzip.compress(f"{json.dumps(PLAIN)}\n{json.dumps(TYPED)}".encode())},
        {"a_jsonl_bz2": bz2.compress(f"{json.dumps(PLAIN)}\n{json.dumps(TYPED)}".encode())},
        {"a_jsonl": [PLAIN, {"messages": json.dumps(TYPED["messages"])}]},
    ],
)
def test_rows_of_several_kinds_are_as_they_stand(tmp_path: Path, files: dict[str, Any]) -> None:
    assert read(load(tmp_path, **files)) == [PLAIN["messages"], TYPED["messages"]]


def test_a_late_row_of_another_kind_changes_no_other(tmp_path: Path) -> None:
    """`datasets` types a column by its first 10 MB, and writes what comes later as JSON."""
    long = {"messages": [{**HI, "content": "x" * 2_000_000}, HO]}
    rows = load(tmp_path, a_jsonl=[*[long] * 6, TYPED])
    assert read(rows)[-2:] == [long["messages"], TYPED["messages"]]


def test_columns_are_those_of_all_rows(tmp_path: Path) -> None:
    given = [{"id": 1, "note": "12"}, {"id": "x", "messages": []}]
    rows = load(
        tmp_path, a_jsonl=given, b_jsonl=[{"tools": {"a": None}, "weight": 0.5, "ok": True}]
    )
    assert rows.to_list() == [
        {"id": "1", "note": "12", "messages": None, "tools": None, "weight": None, "ok": None},
        {"id": "x", "note": None, "messages": "[]", "tools": None, "weight": None, "ok": None},
        {"id": None, "note": None, "messages": None, "tools": '{"a": null}', "weight": "0.5"}
        | {"ok": "true"},
    ]


def test_texts_that_no_table_can_hold(tmp_path: Path) -> None:
    rows = load(tmp_path, a_jsonl=['{"a": "so \\ud83d", "b": ["\\ud83d", 1' + "0" * 30 + "]}"][0])
    assert rows["a"][:] == ["so ?"]
    assert json.loads(rows["b"][0]) == ["\ud83d", 10**31 // 10]


def test_columns_that_look_like_the_trace_of_an_agent_are_a_chat(tmp_path: Path) -> None:
    row = {"id": "1", "source": "a", "model": "b", "system_prompt": "Be.", **PLAIN}
    assert read(load(tmp_path, a_jsonl=[row])) == [PLAIN["messages"]]


def test_splits_and_parts_of_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, numbers in (("train", range(10)), ("test", range(3))):
        lines = "\n".join(json.dumps({"n": number}) for number in numbers)
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines)
    for split, count in (("train", 10), ("test", 3), ("train[:4]", 4), ("train[50%:]", 5)):
        assert len(load(tmp_path, split)) == count
    assert load(tmp_path, "train[2:4]")["n"][:] == ["2", "3"]
    with pytest.raises(RecipeError, match="`dataset_name`: it cannot be read as a data set"):
        load(tmp_path, "validation")


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    assert len(load(tmp_path, a_jsonl=[PLAIN])) == 1
    assert len(load(tmp_path, a_jsonl=[PLAIN, TYPED])) == 2


def test_other_files_are_read_as_ever(tmp_path: Path) -> None:
    Dataset.from_list([PLAIN]).to_parquet(tmp_path / "train.parquet")
    assert load(tmp_path)[0] == PLAIN


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ('{"a": 1}\n{"a": [\n{"a": 2}', "a.jsonl, line 2, is not JSON (Expecting value at charac"),
        (
            '{"a": 1}\n\n{"a": 1}}\n',
            "a.jsonl, line 3, is not JSON (Extra data at character 9); mend",
        ),
        (
            '{"a": 1\n{"a": 2}',
            "a.jsonl, line 2, is not JSON (Expecting ',' delimiter at character 1",
        ),
        (
            "[1, 2",
            "a.jsonl, line 1, is not JSON (Expecting ',' delimiter at character 6); mend that",
        ),
        (
            "Hi\nHo",
            "a.jsonl, line 1, is not JSON (Expecting value at character 1); mend that line or",
        ),
        ('[["Hi"]]', "a.jsonl, row 1, is a list; a row names its columns"),
        ('{"a": 1}\n"Hi"', "a.jsonl, row 2, is a str; a row names its columns"),
        (b'{"a": 1}\n{"a": "caf\xe9"}', "a.jsonl is not UTF-8 (byte 0xe9); save it as UTF-8"),
        (b'{"a": "caf\xe9"}', "a.jsonl is not UTF-8 (byte 0xe9); save it as UTF-8"),
        ("[]", "a.jsonl holds no rows"),
        ("{}", "a.jsonl holds no rows"),
        ("\n", "a.jsonl holds no rows"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, file: str | bytes, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, a_jsonl=file)
    assert str(refused.value).startswith(f"`dataset_name`: {line}")
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"\n".join(json.dumps({"a": n}).encode() for n in range(9000)))
    with pytest.raises(RecipeError, match=r"^`dataset_name`: a\.jsonl\.gz is damaged \("):
        load(tmp_path, a_jsonl_gz=whole[: len(whole) // 2])

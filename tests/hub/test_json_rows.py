"""JSON and CSV files: each cell is read as it stands there, or the line says which cannot."""

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, concatenate_datasets

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
    return load_split(folder, None, split, [], "dataset_name", as_written=True)


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
    ],
)
def test_rows_of_several_kinds_are_as_they_stand(tmp_path: Path, files: dict[str, Any]) -> None:
    assert load(tmp_path, **files)["messages"][:] == [PLAIN["messages"], TYPED["messages"]]


def test_a_late_row_of_another_kind_changes_no_other(tmp_path: Path) -> None:
    """`datasets` types a column by its first 10 MB, and writes what comes later as JSON."""
    long = {"messages": [{**HI, "content": "x" * 2_000_000}, HO]}
    rows = load(tmp_path, a_jsonl=[*[long] * 6, TYPED])
    assert rows["messages"][-2:] == [long["messages"], TYPED["messages"]]


def test_columns_are_those_of_all_rows(tmp_path: Path) -> None:
    given = [{"id": 1, "note": "12"}, {"id": "x", "messages": []}]
    more = {"tools": {"a": None}, "weight": 0.5, "ok": True}
    rows = [*load(tmp_path, a_jsonl=given, b_jsonl=[more])]
    empty = dict.fromkeys(("id", "note", "messages", "tools", "weight", "ok"))
    assert rows == [{**empty, **row} for row in (*given, more)]
    assert [type(row["id"]) for row in rows] == [int, str, type(None)]


EXACT = [
    *(9007199254740993, 0.5, 12, "12", -0.0, 12345678901234567890123, 6.02e23, 0.1 + 0.2),
    *(True, "true", None, "null", "", [], "[]", {}, ["5"], '["5"]', {"a": None}, "{'a': 1}"),
    *("2024-03-01 10:00:00", "007", "so \ud83d", ["\ud83d"], "NaN", "\x00"),
]


def test_values_and_texts_are_told_apart_to_the_last_digit(tmp_path: Path) -> None:
    rows = load(tmp_path, a_jsonl=[{"a": value} for value in EXACT])
    assert [(type(cell), cell) for cell in rows["a"]] == [(type(cell), cell) for cell in EXACT]
    beside = concatenate_datasets([rows.select([9, 1]), rows.select([0, 19])], axis=0)
    assert beside.flatten_indices()["a"][:] == [EXACT[place] for place in (9, 1, 0, 19)]


@pytest.mark.parametrize("cell", ["NaN", "Infinity", "-Infinity", "1e400", "null"])
def test_what_is_no_number_is_nothing(tmp_path: Path, cell: str) -> None:
    rows = load(tmp_path, a_jsonl=f'{{"a": {cell}, "b": [{cell}, {{"c": {cell}}}]}}')
    assert rows[0] == {"a": None, "b": [None, {"c": None}]}


def test_columns_that_look_like_the_trace_of_an_agent_are_a_chat(tmp_path: Path) -> None:
    row = {"id": "1", "source": "a", "model": "b", "system_prompt": "Be.", **PLAIN}
    assert load(tmp_path, a_jsonl=[row])["messages"][:] == [PLAIN["messages"]]


def test_splits_and_parts_of_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, numbers in (("train", range(10)), ("test", range(3))):
        lines = "\n".join(json.dumps({"n": number}) for number in numbers)
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines)
    for split, count in (("train", 10), ("test", 3), ("train[:4]", 4), ("train[50%:]", 5)):
        assert len(load(tmp_path, split)) == count
    assert load(tmp_path, "train[2:4]")["n"][:] == [2, 3]
    assert load(tmp_path, "test+train[:20%]")["n"][:] == [0, 1, 2, 0, 1]
    with pytest.raises(RecipeError, match="`dataset_name`: it cannot be read as a data set"):
        load(tmp_path, "validation")


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    assert len(load(tmp_path, a_jsonl=[PLAIN])) == 1
    assert len(load(tmp_path, a_jsonl=[PLAIN, TYPED])) == 2


def test_other_files_are_read_as_ever(tmp_path: Path) -> None:
    Dataset.from_list([PLAIN]).to_parquet(tmp_path / "train.parquet")
    assert load(tmp_path)[0] == PLAIN


WAY = "; mend that line or take it out; a file of another kind, take it away"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            '{"a": 1}\n{"a": [\n{"a": 2}',
            "a.jsonl, line 2, is not JSON (Expecting value at character 8)",
        ),
        (
            '{"a": 1}\n\n{"a": 1}}\n',
            f"a.jsonl, line 3, is not JSON (Extra data at character 9){WAY}",
        ),
        # A first line that is cut short, with blank lines before it and after.
        (
            '{"a": 1\n{"a": 2}',
            f"a.jsonl, line 1, is not JSON (Expecting ',' delimiter at character 8){WAY}",
        ),
        (
            '\n \n{"a": "so\n{"a": 2}\n{"a": 2}',
            "a.jsonl, line 3, is not JSON (Unterminated string starting at at character 7); mend",
        ),
        ('\n\n{"a": 1}\n{"a"', "a.jsonl, line 4, is not JSON (Expecting ':' delimiter at char"),
        ('{"a": 1,\n "b": }', "a.jsonl, line 2, is not JSON (Expecting value at character 7)"),
        ('[\n {"a": 1}\n {"a": 2}\n]', "a.jsonl, line 3, is not JSON (Expecting ',' delim"),
        (
            "[1, 2",
            f"a.jsonl, line 1, is not JSON (Expecting ',' delimiter at character 6){WAY}",
        ),
        ("Hi\nHo", "a.jsonl, line 1, is not JSON (Expecting value at character 1); mend that"),
        (
            '[["Hi"]]',
            "a.jsonl, row 1, is a list; a row is an object that names its columns, so take the fi",
        ),
        ("[1, 2]", "a.jsonl, row 1, is a int; a row is an object that names its columns, so tak"),
        ('{"a": 1}\n"Hi"', "a.jsonl, row 2, is a str; a row is an object that names its columns"),
        (
            b'{"a": 1}\n{"a": "caf\xe9"}',
            "a.jsonl, line 2, is not UTF-8 (byte 0xe9); save the file as UTF-8",
        ),
        (b'{"a": "caf\xe9"}', "a.jsonl, line 1, is not UTF-8 (byte 0xe9); save the file as UTF-8"),
        (
            b'[{"a": 1},\n{"a": 2},\n{"a": "\xff"}]',
            "a.jsonl, line 3, is not UTF-8 (byte 0xff); sav",
        ),
        ('{"a": ' + "1" * 5000 + "}", "a.jsonl, line 1, cannot be read (Exceeds the limit (4300"),
        ('{"b": 1}\n{"a": ' + "[" * 5000, "a.jsonl, line 2, cannot be read (maximum recursion"),
        ('{"a": ' + "[" * 5000, "a.jsonl, line 1, cannot be read (maximum recursion"),
        ("[]", "a.jsonl holds no rows"),
        ("{}", "a.jsonl holds no rows"),
        ("\n", "a.jsonl holds no rows"),
        # A table that was written column by column.
        ('{"prompt": ["Hi", "Yo"], "completion": ["Ho", "Ya"]}', "a.jsonl is one object of whole"),
        ('{"prompt": {"0": "Hi"}, "completion": {"0": "Ho"}}', "a.jsonl is one object of whole co"),
        (
            '{"messages": {"3": null, "7": [{}]}}',
            "a.jsonl is one object of whole columns; write an ",
        ),
        (json.dumps({"messages": [[HI, HO], [HI, HO]]}, indent=1), "a.jsonl is one object of whol"),
        ('{"problem": ["1+1", "2"], "answer": [2, null]}\n', "a.jsonl is one object of whole col"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, file: str | bytes, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, a_jsonl=file)
    assert str(refused.value).startswith(f"`dataset_name`: {line}")
    assert "\n" not in str(refused.value)


def test_the_line_about_columns_says_how_to_write_rows(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"an object for each row, as `to_json\(path, orient="):
        load(tmp_path, a_json='{"prompt": ["Hi"], "completion": [null]}')


@pytest.mark.parametrize(
    "row",
    [
        PLAIN,
        {"messages": [json.dumps(HI), json.dumps(HO)]},
        {"messages": [["user", "Hi"], ["assistant", "Ho"]]},
        {"prompt": [HI], "completion": [HO]},
        {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Ho"]}},
        {"prompt": "Hi", "rejected": ["5", "6"]},
        {"prompt": [], "completion": []},
        {"messages": ["Hi", "Ho"]},
        {"prompt": ["Hi"], "completion": ["Ho", "Ya"]},
        {"tools": {"add": {}}},
    ],
)
def test_one_row_alone_is_no_table_of_columns(tmp_path: Path, row: dict[str, Any]) -> None:
    assert load(tmp_path, a_json=json.dumps(row))[0] == row


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            'a,b\r\n007,3.10\r\n1e5,NA\r\n12345678901234567,""\r\n\r\nNone\r\n',
            [("007", "3.10"), ("1e5", "NA"), ("12345678901234567", ""), ("None", None)],
        ),
        (
            'a,b\r\nnull,"x, ""y""\nz"',
            [("null", 'x, "y"\nz')],
        ),
        ("\ufeffa,b\n1,2.0\n", [("1", "2.0")]),
        ("a,b\nTrue,2024-03-01\n", [("True", "2024-03-01")]),
        ('a,b\n"[{""role"": ""user""}]",' + "x" * 200_000, [('[{"role": "user"}]', "x" * 200_000)]),
    ],
)
def test_cells_of_csv_are_texts(tmp_path: Path, text: str, rows: list[Any]) -> None:
    expected = [dict(zip("ab", row, strict=True)) for row in rows]
    assert [*load(tmp_path, a_csv=text)] == expected
    tabbed = text.replace(",", "\t") if '"' not in text else text
    if tabbed is not text:
        (tmp_path / "a.csv").unlink()
        assert [*load(tmp_path, a_tsv=tabbed)] == expected


def test_csv_files_have_the_columns_of_all_and_splits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        (tmp_path / "data" / f"{name}-0.csv").write_text(f"a\n{name}\n")
    (tmp_path / "data" / "train-1.csv").write_bytes(b"b,a\n1,2\n3,4")
    first, *more = [*load(tmp_path)]
    assert first == {"a": "train", "b": None}
    assert more == [{"b": "1", "a": "2"}, {"b": "3", "a": "4"}]
    assert load(tmp_path, "test+train[1:2]")["a"][:] == ["test", "2"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "prompt,completion\nHi,Ho\nHi,Ho, you\n",
            "a.csv, line 3, has 3 cells, and the first line names 2 columns; put a cell that holds",
        ),
        ("a,b\n1,2,3\n1,2,3\n", "a.csv, line 2, has 3 cells, and the first line names 2 columns"),
        ('a,b\n1,"2\n3,4\n', "a.csv, line 3, is not CSV (unexpected end of data); mend its quotes"),
        ('a,b\n1,"2"x\n', "a.csv, line 2, is not CSV (',' expected after '\"'); mend its quo"),
        ("a,b,a\n1,2,3\n", "a.csv: the column `a` stands twice in the first line; rename one of"),
        (b"a,b\n1,caf\xe9\n", "a.csv, after line "),
        ("a,b\n", "a.csv holds no rows"),
        ("", "a.csv holds no rows"),
    ],
)
def test_what_is_no_csv_is_one_line(tmp_path: Path, text: str | bytes, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, a_csv=text)
    assert str(refused.value).startswith(f"`dataset_name`: {line}")
    assert "\n" not in str(refused.value)


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"\n".join(json.dumps({"a": n}).encode() for n in range(9000)))
    with pytest.raises(RecipeError, match=r"^`dataset_name`: a\.jsonl\.gz is damaged \("):
        load(tmp_path, a_jsonl_gz=whole[: len(whole) // 2])


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_what_is_no_archive_is_one_line(tmp_path: Path, kind: str, packing: str) -> None:
    with pytest.raises(RecipeError, match=rf"^`dataset_name`: a\.{kind}\.{packing} is damaged \("):
        load(tmp_path, **{f"a_{kind}_{packing}": '{"a": 1}\n{"a": 2}\n'})

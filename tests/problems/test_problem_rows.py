"""Rows of problems and answers: read, converted by the rule, or kept aside with a reason."""

import datetime
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Value
from tests.conftest import ROOT

from moxin_recipes.hub.splits import load_split
from moxin_recipes.problems.rows import Problems
from moxin_recipes.problems.texts import answer_of, problem_of
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import known_answers

NAMES = ("problem", "answer")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12", "12"),
        (" 033", " 033"),
        (42, "42"),
        (-7, "-7"),
        (42.0, "42"),
        (0.5, "0.5"),
        (1e-7, "0.0000001"),
        (-0.0, "0"),
        (6.02e23, "602000000000000000000000"),
        (Decimal("3.140"), "3.14"),
        (2**60, str(2**60)),
        (datetime.datetime(2024, 3, 1), "2024-03-01"),
        (10**30, str(10**30)),
        (["1", "2"], "1, 2"),
        ([3], "3"),
        ([1.5, "x"], "1.5, x"),
    ],
)
def test_an_answer(value: Any, text: str) -> None:
    assert answer_of(value) == (text, "")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no answer"),
        ("", "empty answer"),
        (" \n", "empty answer"),
        (True, "answer is a bool"),
        (math.nan, "answer is a float"),
        (math.inf, "answer is a float"),
        ({"a": 1}, "answer is a dict"),
        (float(10**29 + 7**30), "answer is a rounded number; write it as a text"),
        (1e17 + 16, "answer is a rounded number; write it as a text"),
        ([], "no answer"),
        ([None, "1"], "no answer"),
        ([True], "no answer"),
        (b"1", "answer is a bytes"),
        ("so \ud83d", "a half of a sign in a text"),
    ],
)
def test_what_is_no_answer(value: Any, reason: str) -> None:
    assert answer_of(value) == (None, reason)


def test_tests_of_programs_may_be_an_object() -> None:
    tests = {"inputs": ["2"], "outputs": ["4"]}
    assert answer_of(tests, is_tests=True) == ('{"inputs": ["2"], "outputs": ["4"]}', "")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no problem"),
        ("", "empty problem"),
        (3, "problem is a int"),
        ([{"role": "user"}], "problem is a chat, and not one text of the user"),
        (["2+2?"], "problem is a list"),
        ([], "problem is a list"),
        ("so \ud83d", "a half of a sign in a text"),
    ],
)
def test_what_is_no_problem(value: Any, reason: str) -> None:
    assert problem_of(value) == (None, reason)


LINES = """{"problem": "a", "answer": "3", "level": 1}
{"problem": "b", "answer": 4, "level": 2}
{"problem": "c", "answer": null, "level": 3}
{"problem": null, "answer": 2.5, "level": 4}
{"problem": "e", "answer": 2.0, "level": 5}
"""


def read(folder: Path, **files: str) -> Problems:
    """Files of a split, their names' `_` for the point, as the stages read them."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    rows = load_split(folder, None, "train", [*NAMES], "dataset_name", as_written=True)
    return Problems(rows, NAMES, "dataset_name")


def test_a_file_of_mixed_kinds(tmp_path: Path) -> None:
    problems = read(tmp_path, train_jsonl=LINES)
    assert [*problems.usable()] == [
        {"problem": "a", "answer": "3", "level": 1},
        {"problem": "b", "answer": "4", "level": 2},
        {"problem": "e", "answer": "2", "level": 5},
    ]
    assert problems.left_out().to_list() == [
        {"problem": 2, "reason": "no answer"},
        {"problem": 3, "reason": "no problem"},
    ]
    assert problems.counts == {"problems": 5, "left out (no answer)": 1, "left out (no problem)": 1}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("9007199254740993", "9007199254740993"),
        ("123456789012345678901", "123456789012345678901"),
        ('"2024-03-01 10:00:00"', "2024-03-01 10:00:00"),
        ('"2024-03-01"', "2024-03-01"),
        ('"007"', "007"),
        ("0.1", "0.1"),
        ("6.02e23", "602000000000000000000000"),
        ('["1", 2]', "1, 2"),
        ("{}", None),
        ("NaN", None),
        ("1e400", None),
        ('"so \\ud83d"', None),
        ('["so \\ud83d", "1"]', None),
    ],
)
def test_an_answer_is_what_the_file_says(tmp_path: Path, written: str, text: str | None) -> None:
    """Whatever stands in the rows beside it, and in other files."""
    others = ["0.5", '"2024-03-02"', "null", "[1]", '"x"']
    lines = [f'{{"problem": "{n}?", "answer": {one}}}' for n, one in enumerate([written, *others])]
    first = '{"problem": null, "answer": 3, "source": "one more column"}\n'
    problems = read(tmp_path, train_1_jsonl=first, train_2_jsonl="\n".join(lines))
    answers = dict(zip(problems.texts, problems.answers, strict=True))
    assert answers["0?"] == text
    assert problems.usable()["answer"][-1] == "x"


@pytest.mark.parametrize("cell", ["007", "3.10", "1e5", "NA", "None", "12345678901234567", "true"])
def test_a_cell_of_csv_is_a_text(tmp_path: Path, cell: str) -> None:
    problems = read(tmp_path, train_csv=f"problem,answer\na,{cell}\nb,\nc,1\n")
    assert problems.usable()["answer"][:] == [cell, "1"]
    assert problems.left_out()["reason"][:] == ["empty answer"]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_float_is_the_shortest_that_its_column_tells_apart(kind: str) -> None:
    features = Features({"problem": Value("string"), "answer": Value(kind)})
    rows = Dataset.from_dict({"problem": [*"abcde"], "answer": [0.1, 3.0, -0.25, None, math.nan]})
    problems = Problems(rows.cast(features), NAMES, "dataset_name")
    assert problems.usable()["answer"][:] == ["0.1", "3", "-0.25"]
    assert problems.left_out()["reason"][:] == ["no answer", "answer is a float"]


def turn(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([turn("2+2?")], "2+2?"),
        ([turn([{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}])], "2+2?"),
        ([{"from": "human", "value": "2+2?"}], "2+2?"),
        (json.dumps([turn("2+2?")]), "2+2?"),
        ("[1, 2] or [3]?", "[1, 2] or [3]?"),
        ("[1, 2]", "[1, 2]"),
        ([turn("Add.", "system"), turn("2+2?")], None),
        ([turn("2+2?", "assistant")], None),
        ([turn(None)], None),
        ([turn([{"type": "image", "url": "x"}])], None),
    ],
)
def test_a_problem_may_be_a_prompt_as_trl_has_it(value: Any, text: str | None) -> None:
    wanted = (text, "") if text else (None, "problem is a chat, and not one text of the user")
    assert problem_of(value) == wanted


def test_prompts_of_trl_in_files(tmp_path: Path) -> None:
    lines = [
        json.dumps({"problem": [turn("2+2?")], "answer": 4}),
        '{"problem": "1+1?", "answer": 2}',
    ]
    problems = read(tmp_path, train_jsonl="\n".join(lines))
    assert problems.usable()["problem"][:] == ["2+2?", "1+1?"]
    Dataset.from_list([{"problem": [turn("3+3?")], "answer": 6}]).to_parquet(tmp_path / "t.parquet")
    rows = Dataset.from_parquet(str(tmp_path / "t.parquet"))
    assert Problems(rows, NAMES, "dataset_name").usable()["problem"][:] == ["3+3?"]


def test_the_line_names_the_key_of_the_dataset(caplog: pytest.LogCaptureFixture) -> None:
    rows = Dataset.from_dict({"problem": ["a", "b", "c"], "answer": [None, None, "1"]})
    Problems(rows, NAMES, "traces").warn()
    assert "2 no answer; `traces` decides on most of them; such as" in caplog.text
    Problems(rows.select([0, 2]), NAMES, "problems_name").say()
    assert "`problems_name`: 1 of 2 problems are left out: 1 no answer" in caplog.text


def test_columns_of_other_names_and_none() -> None:
    rows = Dataset.from_dict({"question": ["a", "b"], "gold": [1, 2], "problem": ["x", "y"]})
    read = Problems(rows, ("question", "gold"), "dataset_name").usable()
    assert read.to_list() == [
        {"problem": "a", "answer": "1", "question": "a", "gold": 1},
        {"problem": "b", "answer": "2", "question": "b", "gold": 2},
    ]
    with pytest.raises(RecipeError, match=r"^`dataset_name`: the dataset has no column `goal` "):
        Problems(rows, ("question", "goal"), "dataset_name")


def test_nothing_that_can_be_used_is_one_line() -> None:
    rows = Dataset.from_dict({"problem": ["a", "b"], "answer": [None, None]})
    with pytest.raises(RecipeError, match=r"none of its 2 problems can be used; .* 2 no answer"):
        Problems(rows, NAMES, "dataset_name")


def set_of(answers: list[str]) -> Problems:
    rows = Dataset.from_dict({"problem": ["x"] * len(answers), "answer": answers})
    return Problems(rows, NAMES, "dataset_name")


def test_answers_are_tried() -> None:
    good = ["12", r"\frac{1}{2}", "(1,2]", r"\text{Evelyn}", "x^2+1", "3, 4", "C", r"12 \text{ cm}"]
    problems = set_of([*good, *good, r"\frac{1}{"])
    assert known_answers.try_answers(["math"], problems) == [""] * 16 + ["answer is not understood"]
    assert known_answers.try_answers(["format"], problems) == [""] * 17
    worked = ["He has 3 + 4 = 7 apples. #### 7", "So 2 < 3 and we get {", "12"]
    with pytest.raises(RecipeError, match=r"`math` can read 1 of 3 answers \(row 0: He has"):
        known_answers.try_answers(["math"], set_of(worked))


def test_tests_of_programs_are_tried() -> None:
    good, bad = (
        '{"inputs": ["2"], "outputs": ["4"]}',
        '{"inputs": [2], "outputs": [4], "fn_name": "f"}',
    )
    problems = set_of([good] * 9 + [bad] + [good])
    reasons = known_answers.try_answers(["code"], problems)
    assert reasons == [""] * 9 + ["tests are not understood", ""]
    with pytest.raises(RecipeError) as refused:
        known_answers.try_answers(["code"], set_of([good, bad, "4", bad]))
    line = str(refused.value)
    assert line.startswith("`dataset_name`: `code` can read 1 of 4 answers (row 1: {")
    assert "the `answer` of a program must be its tests, {" in line
    assert line.endswith(
        "name the column that holds it (`answer_column`), or use another reward (`rewards`)"
    )


_ROW = re.compile(r"\| `(\{\"problem.*\})` \| (?:`(.+)`|left out: (.+)) \|")


def test_every_row_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    rows = _ROW.findall(page)
    assert len(rows) >= 10
    for line, text, reason in rows:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        other = json.dumps({"problem": "other", "answer": "1"})
        (folder / "train.jsonl").write_text(f"{line}\n{other}\n")
        rows_read = load_split(folder, None, "train", [*NAMES], "dataset_name", as_written=True)
        problems = Problems(rows_read, NAMES, "dataset_name")
        if text:
            assert problems.usable()["answer"][0] == text, line
        else:
            assert problems.left_out().to_list() == [{"problem": 0, "reason": reason}], line

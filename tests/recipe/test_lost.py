"""The loud line: when it is said, and that no text of a dataset breaks out of it."""

from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from moxin_recipes.problems import prompts
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe import lost
from moxin_recipes.teachers import verified


@pytest.mark.parametrize(("gone", "loud"), [(0, False), (5, False), (6, True), (10, True)])
def test_it_is_said_where_more_than_half_goes(
    caplog: pytest.LogCaptureFixture, gone: int, loud: bool
) -> None:
    lost.warn(lost.Line("chats", 10, {"too long": gone}, "`max_length`"))
    assert bool(caplog.messages) == loud


def test_it_names_reasons_by_size_the_key_and_three_examples() -> None:
    texts = ["a\nb\tc", "\x1b[2J\u202egone", "x" * 5000, "a fourth"]
    line = str(lost.Line("chats", 3000, {"few": 1, "none": 0, "many": 2000}, "`key`", texts))
    assert line.startswith("2,001 of 3,000 chats are left out: 2,000 many, 1 few; `key` decides")
    assert "“a b c” · “[2J gone” · “xxx" in line
    assert "fourth" not in line
    assert "none" not in line
    assert line.isprintable()
    assert len(line) < 400


def test_texts_of_a_row_are_found_in_any_layout() -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}], "n": 3}
    assert list(lost.texts({**row, "left_out": "too long"})) == ["a", "b"]


def test_what_distillation_refused_most_is_shown(tmp_path: Path) -> None:
    rows = [{"completion": f"wrong {n}", "reason": "math"} for n in range(5)]
    rows += [{"completion": "x" * 400, "reason": verified.CUT}]
    (tmp_path / "rejected").mkdir()
    Dataset.from_list(rows).to_parquet(tmp_path / "rejected" / "train.parquet")
    tally = verified.Tally()
    tally.kept, tally.reasons = 2, Counter({"math": 5, verified.CUT: 1})
    line = verified.left_out(tmp_path, tally)
    assert (line.total, line.gone, line.key) == (8, 6, "`rewards`")
    assert list(line.examples) == ["wrong 0", "wrong 1", "wrong 2"]
    tally.reasons[verified.CUT] = 9
    assert verified.left_out(tmp_path, tally).key == "`max_new_tokens`"


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        (prompts.PASS_RATE, "`min_pass_rate`, `max_pass_rate`"),
        (prompts.TOO_LONG, "`max_prompt_length`"),
        ("answer is not understood", "`answer_column`"),
        ("no answer", "`dataset_name`"),
    ],
)
def test_what_grpo_leaves_out_most_is_shown(
    reason: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Dataset.from_list([{"problem": "p" * n, "answer": "1"} for n in range(1, 11)])
    problems = Problems(rows, ("problem", "answer"), "dataset_name")
    problems.leave_out([""] * 4 + [reason] * 6)
    problems.warn()
    (line,) = caplog.messages
    assert line.startswith(f"6 of 10 problems are left out: 6 {reason}; {key} decides on most of")
    assert "such as “ppppp" in line

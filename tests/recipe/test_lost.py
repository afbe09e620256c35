"""The loud line: when it is said, and that no text of a dataset breaks out of it."""

import pytest

from moxin_recipes.recipe import lost


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

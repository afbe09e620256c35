"""`moxin score` on files and on standard input, and bad rows by their line."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Workplace

ROWS = [
    {"completion": "<think>a</think>\\boxed{\\frac{4}{2}}", "answer": "2"},
    {"completion": "<think>a\u2028b</think>\\boxed{3}", "answer": "2"},
    {"completion": "\\boxed{2}", "answer": "2"},
]


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "home", tmp_path)


def score(place: Workplace, text: str, reward: str = "math") -> subprocess.CompletedProcess[str]:
    file = place.ladder / "rows.jsonl"
    file.write_text(text)
    return place.moxin("score", "--reward", reward, str(file))


def test_rows_are_scored_in_order(place: Workplace) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    done = score(place, text)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["reward"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["reason"] for row in rows] == ["equal", "different", "no </think>"]
    assert all(row["seconds"] >= 0 for row in rows)
    assert not place.home.exists()  # no Hub is needed, so none is made
    piped = subprocess.run(
        place.command("score", "--reward", "format", "-"),
        env=place.environment(),
        input=text,
        capture_output=True,
        text=True,
    )
    assert [json.loads(line)["reward"] for line in piped.stdout.splitlines()] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "reward", "expected"),
    [
        ('{"completion": "x", "answer": "1"}\n{"completion": "x"}', "math", "rows.jsonl:2: there"),
        (
            '\n{"completion": "x", "answer": null}',
            "math",
            "rows.jsonl:2: there is no text",
        ),
        ('{"completion": "x", "answer": true}', "math", "rows.jsonl:1: `answer`: answer is a bool"),
        ('{"completion": 1, "answer": 1}', "math", "rows.jsonl:1: there is no text `completion`"),
        ("{", "math", "rows.jsonl:1: "),
        ('{"completion": "x", "answer": "1"}', "code", "rows.jsonl:1: the `answer` of a program"),
        ("", "meth", "there is no meth; use math, format, code"),
    ],
)
def test_what_cannot_be_scored(place: Workplace, text: str, reward: str, expected: str) -> None:
    done = score(place, text, reward)
    assert done.returncode == 1
    assert done.stdout == ""
    assert expected in done.stderr
    assert "Traceback" not in done.stderr

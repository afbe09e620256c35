"""Recorded traces: their marks become ours, and a converted one earns the training reward."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, List, Value

from moxin_recipes import rewards
from moxin_recipes.hub.splits import load_split
from moxin_recipes.teachers import traces

THOUGHTS = Dataset.from_list(
    [
        {
            "problem": "What is 1+2?",
            "ground_truth_solution": "We add: \\boxed{3}",
            "deepseek_reasoning": "One and two make three.",
            "deepseek_solution": "The answer is \\boxed{3}.",
        },
        {
            "problem": "Name a bird.",
            "ground_truth_solution": "A robin.",
            "deepseek_reasoning": "Birds …",
            "deepseek_solution": "A robin.",
        },
    ]
)
OPENR1 = Dataset.from_list(
    [
        {
            "problem": "What  is 1+2?",
            "answer": "3",
            "generations": ["<think>\n1+2=3\n</think>\n\\boxed{3}", "1+2=4\n</think>\\boxed{4}"],
        },
        {
            "problem": "Half of 3?",
            "answer": "\\frac{3}{2}",
            "generations": ["<think>halve</think>1.5: \\boxed{1.5}"],
        },
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        "<|begin_of_thought|>\n\n1+2=3\n\n<|end_of_thought|>\n\n"
        "<|begin_of_solution|>\n\n\\boxed{3}\n\n<|end_of_solution|>",
        "1+2=3\n</think>\n\\boxed{3}",
        "<think>1+2=3</think>\\boxed{3}",
    ],
)
def test_a_converted_trace_earns_the_reward(text: str) -> None:
    chain = traces.as_chain(text)
    for name in ("math", "format"):
        assert rewards.score(name, [chain], ["3"])[0].reward == 1
    assert "<|" not in chain
    assert chain.count("<think>") == chain.count("</think>") == 1


def test_the_tags_as_they_come_earn_nothing() -> None:
    text = "<|begin_of_thought|>1+2=3<|end_of_thought|><|begin_of_solution|>\\boxed{3}"
    assert rewards.score("math", [text], ["3"])[0].reward == 0


def test_both_layouts_are_read_without_doubles() -> None:
    read = traces.read([("openr1", OPENR1), ("openthoughts", THOUGHTS)])
    rows = read.usable()
    assert rows["problem"] == ["What  is 1+2?", "Half of 3?"]
    assert read.counts == {
        "problems": 4,
        "left out (no answer)": 1,
        "left out (problem seen before)": 1,
    }
    (row,) = traces.read([("openthoughts", THOUGHTS)]).usable()
    assert row["answer"] == "3"
    for name in ("math", "format"):
        assert rewards.score(name, row["traces"], ["3"])[0].reward == 1
    texts = [trace for row in rows for trace in row["traces"]]
    answers = ["3", "3", "\\frac{3}{2}"]
    assert [score.reward for score in rewards.score("math", texts, answers)] == [1, 0, 1]


SAID = "<think>1+2</think>\\boxed{3}"


def openr1(answer: Any, generations: Any, kinds: Features | None = None) -> tuple[str, Dataset]:
    row = {"problem": f"1+{answer}?", "answer": answer, "generations": generations}
    return "openr1", Dataset.from_list([row], kinds)


def test_sources_may_differ_in_their_types() -> None:
    large = {name: Value("large_string") for name in ("problem", "answer")}
    parts = [
        openr1(3, [SAID]),
        openr1("4", [SAID]),
        openr1(2.5, SAID),
        openr1(["1", "2"], [SAID]),
        openr1("5", [SAID], Features({**large, "generations": List(Value("large_string"))})),
        openr1({"no": "answer"}, [SAID]),
        ("openthoughts", THOUGHTS),
        ("openthoughts", THOUGHTS.remove_columns("ground_truth_solution").add_column(
            "ground_truth_solution", [3, 4]
        )),
    ]  # fmt: skip
    read = traces.read(parts)
    assert read.usable()["answer"] == ["3", "4", "2.5", "1, 2", "5", "3"]
    assert read.left_out().to_list()[0] == {"problem": 5, "reason": "answer is a dict"}
    assert read.counts["left out (no answer)"] == 3


@pytest.mark.parametrize(
    "generations",
    [
        [SAID],
        SAID,
        json.dumps([SAID]),
        [{"content": SAID, "role": "assistant"}],
        [{"text": SAID}],
        json.dumps([{"content": SAID}]),
        [[{"role": "user", "content": "1+2?"}, {"role": "assistant", "content": SAID}]],
        [{"content": "\\boxed{3}", "reasoning_content": "1+2"}],
    ],
)
def test_a_trace_may_be_written_in_several_ways(generations: Any) -> None:
    (row,) = traces.read([openr1(3, generations)]).usable()
    (trace,) = row["traces"]
    assert rewards.score("math", [trace], ["3"])[0].reward == 1


@pytest.mark.parametrize("generations", [None, [], "", [None], ["  "], [{"n": 1}], [[]]])
def test_a_row_without_a_trace_is_listed(generations: Any) -> None:
    read = traces.read([openr1(4, [SAID]), openr1(3, generations)])
    assert read.left_out().to_list() == [{"problem": 1, "reason": "no recorded solution"}]


def test_traces_of_json_files_that_differ(tmp_path: Path) -> None:
    lines = [
        {"problem": "1+2?", "answer": 3, "generations": [SAID]},
        {"problem": "2+2?", "answer": "4", "generations": SAID},
        {"problem": "When?", "answer": "2024-03-01 10:00:00", "generations": [{"text": SAID}]},
        {"problem": "so \ud83d", "answer": 5, "generations": [SAID]},
        {"problem": "2+4?", "answer": 6, "generations": ["so \ud83d"]},
        {"problem": "2+5?", "answer": 7, "generations": ["so \ud83d", SAID]},
    ]
    (tmp_path / "train-1.jsonl").write_text("\n".join(map(json.dumps, lines[:1])))
    (tmp_path / "train-2.jsonl").write_text("\n".join(map(json.dumps, lines[1:])))
    columns = traces.LAYOUTS["openr1"][0]
    rows = load_split(tmp_path, None, "train", columns, "traces[0]", as_written=True)
    read = traces.read([("openr1", rows)])
    assert read.usable()["answer"] == ["3", "4", "2024-03-01 10:00:00", "7"]
    assert read.usable()["traces"] == [[SAID]] * 4
    assert read.left_out().to_list() == [
        {"problem": 3, "reason": "a half of a sign in a text"},
        {"problem": 4, "reason": "no recorded solution"},
    ]

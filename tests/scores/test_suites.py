"""The suites and the tasks of this package: each builds, asks and grades on rows of its format."""

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from lm_eval.api.task import Task

from moxin_recipes.recipe import benchmarks
from moxin_recipes.recipe.keys.evaluate import SUITES, Asked, suite
from moxin_recipes.scores import questions
from moxin_recipes.scores.graders import GRADERS
from moxin_recipes.scores.harness import requests_of
from moxin_recipes.scores.items import Items
from moxin_recipes.scores.model import Response

NAMES = sorted(path.stem for path in SUITES.glob("*.yaml"))
# The averages of the paper's tables (arXiv 2412.06845 v6). II's of olmes is the mean of its row;
# the paper prints 54.42.
AVERAGES = {
    "few-shot": {
        "Original": 64.74,
        "Enhanced": 70.55,
        "SFT": 70.42,
        "Instruct": 71.66,
        "II": 71.095,
    },
    "zero-shot": {
        "Original": 67.21,
        "Enhanced": 75.44,
        "SFT": 74.01,
        "Instruct": 75.92,
        "II": 74.23,
    },
    "olmes": {"Instruct": 59.38, "II": 54.30},
    "maths-greedy": {"RL-DeepScaleR": 43.2, "RL-AReaL": 41.8},
    "maths-sampled": {},
}
# Items of the sets, and the numbers of the paper that fit no count of right answers among them. Of
# HellaSwag and MMLU any number fits.
ITEMS = {
    "winogrande": 1267,
    "piqa": 1838,
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "gsm8k_cot": 1319,
    "math_500": 500,
    "amc23": 40,
    "minerva": 272,
    "olympiadbench": 675,
}
NO_COUNT = {
    "few-shot": {("SFT", "arc_challenge"), ("SFT", "winogrande")},
    "zero-shot": {
        ("Original", "winogrande"),
        ("Original", "arc_easy"),
        ("Original", "arc_challenge"),
        ("Enhanced", "winogrande"),
        ("Enhanced", "piqa"),
        ("Enhanced", "arc_easy"),
        ("Enhanced", "arc_challenge"),
        ("SFT", "arc_challenge"),
    },
    "olmes": {("Instruct", "gsm8k_cot")},  # 1,071 of 1,319 are 81.198%, 81.19 where it is cut off
}
BOX = "Please reason step by step, and put your final answer within \\boxed{}."
SUM = {"problem": "What is $2 + 3$?", "question": "What is $2 + 3$?"}
SOLUTIONS = [
    {"problem": f"What is ${n} + 1$?", "solution": f"Count: $\\boxed{{{n + 1}}}$."}
    for n in range(6)
]
SOLVED = {"problem": "What is $2 + 3$?", "solution": "It is \\fbox{5}, or $\\boxed 5$."}
CODE = {
    "task_id": "HumanEval/999",
    "prompt": 'def double(n: int) -> int:\n    """Twice n."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
PROGRAM = "Here:\n```python\ndef double(n):\n    return {} * n\n```"
ENTITIES = [
    {
        "question": f"What is person {n}'s occupation?",
        "obj": f"trade {n}",
        "possible_answers": f'["trade {n}", "caf\\u00e9 owner {n}"]',
    }
    for n in range(20)
]
CHOICES = {
    "question": "Which is a prime? ",
    "subject": "elementary_mathematics",
    "choices": ["4", "6", "7", "9"],
    "answer": 2,
}
# Each task on documents in its dataset's columns: (rows by split, right answer to the first one,
# wrong one, its target).
Case = tuple[dict[str, list[dict[str, Any]]], str, str, str]
CASES: dict[str, Case] = {
    "math_500": (
        {"test": [SUM | {"answer": "\\frac{1}{2}"}]},
        "So \\boxed{\\dfrac12}.", "\\boxed{2}", "\\frac{1}{2}",
    ),
    "aime2024": ({"train": [SUM | {"answer": "025"}]}, "\\boxed{25}", "\\boxed{26}", "025"),
    "amc": ({"train": [SUM | {"answer": 142.0}]}, "\\boxed{142}", "\\boxed{14}", "142.0"),
    "amc23": ({"test": [SUM | {"answer": "27.0"}]}, "\\boxed{27}", "It is 27.", "27.0"),
    "minerva": (
        {"test": [SUM | {"answer": "4.5e33"}]},
        "\\boxed{4.5 \\times 10^{33}}", "\\boxed{4.5}", "4.5e33",
    ),
    "olympiadbench": (
        {"test": [SUM | {"final_answer": ["$2$", "$3$"]}]},
        "\\boxed{2, 3}", "\\boxed{2}", "['$2$', '$3$']",
    ),
    "math_cot::algebra": (
        {"train": SOLUTIONS, "test": [SOLVED]},
        "The final answer is $5$. I hope it is correct.", "\\boxed{6}",
        "It is \\boxed{5}, or $\\boxed{5}$.",
    ),
    "human_eval": ({"test": [CODE]}, PROGRAM.format(2), PROGRAM.format(3), "double"),
    "human_eval_plus": ({"test": [CODE]}, PROGRAM.format(2), "pass", "double"),
    "popqa": (
        {"test": ENTITIES}, "A Café owner 0, surely.", "a trader",
        "['trade 0', 'café owner 0']",
    ),
    "mmlu_cot": (
        {"test": [CHOICES]}, "The answer is a prime. Hence the answer is (C).",
        "The answer is (C). No: the answer is (D).", "C",
    ),
}  # fmt: skip


def own() -> list[str]:
    """The tasks of this package on public benchmarks."""
    leaves = [leaf for path in benchmarks.TASKS.glob("*.yaml") for leaf in found(path.stem)]
    return [leaf.name for leaf in leaves if not leaf.is_ours]


def found(name: str) -> list[benchmarks.Leaf]:
    return benchmarks.find(name).leaves


def made(name: str, folder: Path, asked: Asked) -> tuple[benchmarks.Leaf, Task]:
    """A task on the rows of its case: with its own file but for where the rows come from."""
    leaf = {leaf.name: leaf for leaf in found(name.partition("::")[0])}[name]
    files = {split: str(folder / f"{split}.jsonl") for split in CASES[name][0]}
    for split, rows in CASES[name][0].items():
        Dataset.from_list(rows).to_json(files[split])
    here = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    there = benchmarks.Leaf(leaf.name, leaf.path, leaf.changes | here, leaf.config | here)
    return there, questions.build(there, asked, None, lambda *_: folder, folder)


def prompt_of(name: str, folder: Path, shots: int | None = None) -> str:
    asked = Asked(task=name, num_fewshot=shots)
    _, task = made(name, folder, asked)
    return str(questions.ask(task, asked, 1, None)[0].args[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_suite_names_tasks_that_there_are_and_metrics(name: str) -> None:
    whole = suite(name)
    assert whole.source
    assert whole.differs
    assert AVERAGES.keys() == set(NAMES)
    asked = {str(one.task): one for one in whole.tasks}
    assert len(asked) == len(whole.tasks)
    assert all(row.keys() == asked.keys() for row in whole.paper.values())
    for task, one in asked.items():
        leaves = found(task)
        assert leaves, task
        for leaf in leaves:
            assert one.metric in metrics_of(leaf, one.samples), leaf.name


def metrics_of(leaf: benchmarks.Leaf, samples: int) -> set[str]:
    """What a task's rows may be called: `METRIC`, `METRIC (FILTER)` or `pass@K`."""
    grader = questions.grader_of(leaf)
    if grader == "program":
        return {f"pass@{k}" for k in (1, 10, 100) if k <= samples}
    if grader:
        return {GRADERS[grader][0]}
    kinds = [f" ({one['name']})" for one in leaf.config.get("filter_list") or []] or [""]
    return {one["metric"] + kind for one in leaf.config["metric_list"] for kind in kinds}


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_paper_have_its_averages(name: str) -> None:
    paper = suite(name).paper
    assert {row.removeprefix("Moxin-7B-") for row in paper} == AVERAGES[name].keys()
    for model, average in AVERAGES[name].items():
        row = {k: v for k, v in paper[f"Moxin-7B-{model}"].items() if k != "mmlu_cot"}
        assert statistics.mean(row.values()) == pytest.approx(average, abs=0.0051), model


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_the_paper_are_counts_of_right_answers(name: str) -> None:
    """A number in another task's column, or with a wrong digit, seldom is one."""
    digits = 1 if name.startswith("maths") else 2  # that the paper prints
    odd = {
        (model.removeprefix("Moxin-7B-"), task)
        for model, row in suite(name).paper.items()
        for task, percent in row.items()
        if task in ITEMS and percent not in counts(ITEMS[task], digits)
    }
    assert odd == NO_COUNT.get(name, set())


def counts(items: int, digits: int) -> set[float]:
    """Percents of all counts, as printed."""
    return {round(100 * right / items, digits) for right in range(items + 1)}


def test_documents_name_rows_of_the_paper_that_there_are() -> None:
    known = {row for name in NAMES for row in suite(name).paper}
    root = Path(__file__).parents[2]
    texts = [root / "README.md", *root.glob("docs/*.md"), *root.glob("recipes/**/*.yaml")]
    named = {
        (path.name, row)
        for path in texts
        for row in re.findall(r"paper:([\w-]+)", path.read_text(encoding="utf-8"))
    }
    assert named
    assert {(path, row) for path, row in named if row not in known} == set()


def test_own_names_are_not_lm_evals_and_each_has_a_case() -> None:
    assert {path.stem for path in benchmarks.TASKS.glob("*.yaml")} & set(benchmarks._lm_eval()) == (
        set()
    )
    math = [name for name in own() if name.startswith("math_cot::")]
    assert len(math) == 7
    assert set(own()) - set(math) | {"math_cot::algebra"} == CASES.keys()


def test_own_tasks_say_where_their_dataset_is_from() -> None:
    for path in benchmarks.TASKS.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if any(leaf.repository for leaf in found(path.stem)):
            assert text.startswith("# "), path
            assert "# Dataset" in text or "# Split" in text, path
            assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("name", CASES)
def test_own_tasks_grade_a_right_and_a_wrong_answer(name: str, tmp_path: Path) -> None:
    _, right, wrong, target = CASES[name]
    asked = Asked(task=name, samples=2)
    leaf, task = made(name, tmp_path, asked)
    questions.prove(leaf, asked)
    requests = requests_of(questions.ask(task, asked, 1, None), 2)
    said = {n: Response(text, raw=text, finish="stop") for n, text in enumerate((right, wrong))}
    grader = questions.grader_of(leaf)
    items = Items(task, requests, said, 2, grader, None)
    assert [row["scores"].split(": ")[1] for row in items.rows] == ["1.0}", "0.0}"], items.rows
    assert {row["target"] for row in items.rows} == {target}
    way = requests[0].instance.args[1]
    assert way["max_gen_toks"] > 0
    assert "</s>" in way["until"]


def test_prompts_in_full(tmp_path: Path) -> None:
    for name in ("math_500", "aime2024", "amc", "amc23", "minerva", "olympiadbench"):
        assert prompt_of(name, tmp_path) == f"What is $2 + 3$?\n{BOX}", name
    assert prompt_of("math_cot::algebra", tmp_path) == (
        "Problem:\nWhat is $0 + 1$?\n\nSolution: Count: $\\boxed{1}$.\n\n"
        "Problem:\nWhat is $1 + 1$?\n\nSolution: Count: $\\boxed{2}$.\n\n"
        "Problem:\nWhat is $2 + 1$?\n\nSolution: Count: $\\boxed{3}$.\n\n"
        "Problem:\nWhat is $3 + 1$?\n\nSolution: Count: $\\boxed{4}$.\n\n"
        "Problem:\nWhat is $2 + 3$?\n\nSolution:"
    )
    for name in ("human_eval", "human_eval_plus"):
        assert prompt_of(name, tmp_path) == (
            "Complete this Python function. Answer with the whole function, in one block of code."
            f"\n\n```python\n{CODE['prompt']}```"
        )
    assert prompt_of("mmlu_cot", tmp_path) == (
        "This is a question about elementary mathematics with four choices. Reason in a few "
        'sentences, then end with "The answer is (X).", where X is the letter of the right choice.'
        "\n\nWhich is a prime?\n(A) 4\n(B) 6\n(C) 7\n(D) 9"
    )


def test_popqa_has_fifteen_examples_and_not_the_question_itself(tmp_path: Path) -> None:
    *examples, question = prompt_of("popqa", tmp_path).split("\n\n")
    assert question == "Q: What is person 0's occupation? A:"
    assert len(set(examples)) == 15
    pairs = {f"Q: {one['question']} A: {one['obj']}" for one in ENTITIES[1:]}
    assert set(examples) <= pairs

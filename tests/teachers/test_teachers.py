"""Endpoints that are slow, refuse, cut short or die: no sample is lost, none asked twice."""

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from tests.conftest import ROOT
from tests.faulty_endpoint import Server

from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.stages import distill
from moxin_recipes.teachers import endpoint, verified
from moxin_recipes.teachers.answers import Answer, Answers, file_name

SUMS = [f"What is {n}+{n % 7}?" for n in range(40)]
PROBLEMS = Dataset.from_dict(
    {"problem": SUMS, "answer": [str(n + n % 7) for n in range(40)]},
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSE", 0.001)
    monkeypatch.setenv("HF_TOKEN", "hf_not_real")


@contextmanager
def serving(asked: Path, *, faults: bool = False, port: int = 0) -> Iterator[Server]:
    server = Server(port, str(asked), None, faults)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(folder: Path, port: int, **more: Any) -> Any:
    """What `distill.collected` needs of a Run."""
    values = {"samples": 3, "concurrency": 8, **more}
    distill_keys = DistillKeys(
        stage="distill",
        hub_dataset_id="cot",
        teacher="endpoint",
        base_url=f"http://127.0.0.1:{port}/v1",
        teacher_model="adder",
        **values,
    )
    return SimpleNamespace(keys=distill_keys, folder=folder)


def kept_by(*rewards: str) -> DistillKeys:
    """The keys of a distillation that keeps what all of these pay for."""
    return DistillKeys(
        stage="distill", hub_dataset_id="o/d", dataset_name="o/p", rewards=[*rewards]
    )


def keys(answers: list[Answer]) -> list[tuple[int, int]]:
    return [(answer.problem, answer.sample) for answer in answers]


ALL_SAMPLES = [(problem, sample) for problem in range(40) for sample in range(3)]


def test_a_faulty_endpoint_is_asked_until_all_is_there(tmp_path: Path) -> None:
    with serving(tmp_path / "asked", faults=True) as server:
        answers = list(distill.collected(run(tmp_path, server.server_port), PROBLEMS))
    assert keys(answers) == ALL_SAMPLES
    asked = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert {row["did"] for row in asked} == {"429", "500", "truncated", "hang-up", "slow", ""}
    answered_seeds = Counter(row["seed"] for row in asked if row["did"] in ("", "slow"))
    assert set(answered_seeds.values()) == {1}  # what was answered is not asked again
    assert len(answered_seeds) == len(ALL_SAMPLES)
    assert {row["token"] for row in asked} == {"Bearer none"}  # never the Hub's
    for answer in answers:
        assert answer.text.startswith("<think>\nI add.\n</think>")
        assert (answer.prompt_tokens, answer.completion_tokens) == (7, 5)
    folder = tmp_path / "out"
    tally = verified.write(folder, PROBLEMS, iter(answers), kept_by("math", "format"))
    assert tally.counts() == {
        "kept": 120,
        "prompt tokens": 840,
        "completion tokens": 600,
        "retries": len(asked) - len(ALL_SAMPLES),
    }
    rates = Dataset.from_parquet(str(folder / "pass_rates" / "train.parquet"))
    assert rates["problem"] == SUMS
    assert set(rates["samples"]) == {3}
    assert set(rates["pass_rate"]) == {1.0}


def test_an_endpoint_that_dies_loses_nothing(tmp_path: Path) -> None:
    """It dies in the middle, stays away for a start, and is back for the last one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "tests/faulty_endpoint.py", str(port), str(tmp_path / "asked")]
    dying = subprocess.Popen([*program, "--die-after", "50"], cwd=ROOT)
    while not answers_at(port):
        assert dying.poll() is None
    counts = []
    for _ in range(2):
        with pytest.raises(RecipeError) as raised:
            list(distill.collected(run(tmp_path, port), PROBLEMS))
        (path,) = tmp_path.glob("samples-*.jsonl")
        counts.append(len(Answers(path)))
        assert f"`base_url`: http://127.0.0.1:{port}/v1 does not answer" in str(raised.value)
        assert f"{counts[-1]} samples are kept in {path}" in str(raised.value)
    assert dying.wait() == 1
    assert 30 < counts[0] == counts[1] <= 50
    with serving(tmp_path / "later", port=port):
        answers = list(distill.collected(run(tmp_path, port), PROBLEMS))
    assert keys(answers) == ALL_SAMPLES
    assert len((tmp_path / "later").read_text().splitlines()) == 120 - counts[0]


def answers_at(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_prompt_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    texts = ["1+1?", "poison 400", "2+2?"]
    problems = Dataset.from_dict({"problem": texts, "answer": ["2", "0", "4"]})
    with serving(tmp_path / "asked") as server:
        answers = distill.collected(run(tmp_path, server.server_port), problems)
        tally = verified.write(tmp_path / "out", problems, answers, kept_by("math"))
    assert tally.kept == 6
    assert tally.reasons == {"teacher refused: HTTP 400": 3}
    rejected = Dataset.from_parquet(str(tmp_path / "out" / "rejected" / "train.parquet"))
    assert rejected["problem"] == ["poison 400"] * 3
    (path,) = tmp_path.glob("samples-*.jsonl")
    assert len(Answers(path)) == 6  # and it is asked again another time


def test_prompts_that_always_fail_do_not_pass_for_an_endpoint_that_is_down(tmp_path: Path) -> None:
    """Not even where, at the second start, nothing else is left to ask."""
    faults = ["403", "500", "empty", "truncated", "hang-up"]
    texts = ["1+1?", *(f"poison {fault}" for fault in faults), "2+2?"]
    problems = Dataset.from_dict({"problem": texts, "answer": ["2", *["0"] * 5, "4"]})
    with serving(tmp_path / "asked") as server:
        asking = run(tmp_path, server.server_port, samples=1, concurrency=1)
        for _ in range(2):
            answers = list(distill.collected(asking, problems))
            failures = [answer.failure for answer in answers]
            assert failures[:5] == [
                "",
                "teacher refused: HTTP 403",
                "teacher failed: HTTP 500",
                *["teacher failed: no whole answer"] * 2,
            ]
            assert failures[5].startswith("teacher failed: ")
            assert not failures[6]
    tally = verified.write(tmp_path / "out", problems, iter(answers), kept_by("math"))
    assert tally.counts()["retries"] == 4 * (endpoint.TRIES - 1)
    rates = Dataset.from_parquet(str(tmp_path / "out" / "pass_rates" / "train.parquet"))
    assert rates["problem"] == ["1+1?", "2+2?"]  # nobody knows how hard the others are


def test_an_answer_that_was_cut_is_refused_and_not_paid_for_again(tmp_path: Path) -> None:
    problems = Dataset.from_dict({"problem": ["1+1?", "poison cut 2+2?"], "answer": ["2", "4"]})
    with serving(tmp_path / "asked") as server:
        for _ in range(2):
            answers = list(distill.collected(run(tmp_path, server.server_port), problems))
    assert len((tmp_path / "asked").read_text().splitlines()) == 6
    tally = verified.write(tmp_path / "out", problems, iter(answers), kept_by("math"))
    assert (tally.kept, tally.reasons) == (3, {"cut at max_new_tokens": 3})
    rejected = Dataset.from_parquet(str(tmp_path / "out" / "rejected" / "train.parquet"))
    assert all("\\boxed{4}" in text for text in rejected["completion"])
    rates = Dataset.from_parquet(str(tmp_path / "out" / "pass_rates" / "train.parquet"))
    assert rates["pass_rate"] == [1.0, 0.0]


def test_what_was_paid_for_is_used_while_the_same_is_asked(tmp_path: Path) -> None:
    problems = PROBLEMS.select(range(3))

    def asked(**more: Any) -> tuple[int, list[tuple[int, int]]]:
        file = tmp_path / "asked"
        before = len(file.read_text().splitlines()) if file.exists() else 0
        answers = list(distill.collected(run(tmp_path, server.server_port, **more), problems))
        return len(file.read_text().splitlines()) - before, keys(answers)

    with serving(tmp_path / "asked") as server:
        assert asked(samples=2)[0] == 6
        assert asked(samples=3, concurrency=1, rewards=["format"])[0] == 3
        assert asked(samples=1) == (0, [(0, 0), (1, 0), (2, 0)])
        assert asked(samples=3, request_seconds=9.0)[0] == 0
        for other in ({"temperature": 0.5}, {"prompt_suffix": " Box it."}, {"seed": 1}):
            assert asked(samples=1, **other)[0] == 3
        problems = PROBLEMS.select([1, 2])
        assert asked(samples=1)[0] == 2
    distill_keys = run(tmp_path, 1).keys
    assert file_name(distill_keys, SUMS, "one model") != file_name(distill_keys, SUMS, "another")


def test_rewards_are_tried_before_anything_is_paid_for(tmp_path: Path) -> None:
    PROBLEMS.to_parquet(tmp_path / "train.parquet")
    with serving(tmp_path / "asked") as server:
        asking = run(
            tmp_path / "out", server.server_port, dataset_name="problems", rewards=["code"]
        )
        asking.pull = lambda key: tmp_path
        with pytest.raises(RecipeError, match="the `answer` of a program must be its tests"):
            distill.main(asking)
    assert not (tmp_path / "asked").exists()


def test_pass_rates_are_of_what_was_answered(tmp_path: Path) -> None:
    problems = Dataset.from_dict({"problem": ["2+2?"], "answer": ["4"]})
    answers = [
        Answer(0, 0, "<think>\nI add.\n</think>\n\\boxed{4}"),
        Answer(0, 1, "", failure="teacher failed: HTTP 500"),
    ]
    tally = verified.write(tmp_path, problems, iter(answers), kept_by("math"))
    rates = Dataset.from_parquet(str(tmp_path / "pass_rates" / "train.parquet"))
    assert (rates["samples"], rates["pass_rate"]) == ([1], [1.0])
    assert tally.answered == 1


@pytest.mark.parametrize("fault", ["403", "503", "empty"])
def test_an_endpoint_that_answers_nothing_is_down(tmp_path: Path, fault: str) -> None:
    with serving(tmp_path / "asked") as server:
        server.always = fault
        with pytest.raises(RecipeError, match=r"`base_url`: .* does not answer"):
            list(distill.collected(run(tmp_path, server.server_port), PROBLEMS))
        server.always = ""
        answers = list(distill.collected(run(tmp_path, server.server_port), PROBLEMS))
    assert keys(answers) == ALL_SAMPLES
    assert not any(answer.failure for answer in answers)


def test_the_token_comes_from_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.TOKEN, "sk-of-the-teacher")
    problems = PROBLEMS.select([0])
    with serving(tmp_path / "asked") as server:
        distill_keys = run(tmp_path, server.server_port, prompt_suffix=" Box it.")
        list(distill.collected(distill_keys, problems))
    asked = json.loads((tmp_path / "asked").read_text().splitlines()[0])
    assert asked["token"] == "Bearer sk-of-the-teacher"
    assert asked["prompt"] == SUMS[0] + " Box it."


def test_a_line_that_was_cut_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    answers = Answers(path)
    for sample in (2, 0):
        answers.add(Answer(0, sample, f"text {sample}\u2028 ä"))
    answers.add(Answer(0, 2, "another"))
    answers.add(Answer(0, 1, "", failure="refused"))
    assert keys(list(answers)) == [(0, 0), (0, 1), (0, 2)]
    with path.open("ab") as file:
        file.write(b'{"problem": 0, "sample": 3, "te')
    reopened = Answers(path)
    assert [answer.text for answer in reopened] == ["text 0\u2028 ä", "text 2\u2028 ä"]
    reopened.add(Answer(0, 1, "text 1"))
    assert keys(list(Answers(path))) == [(0, 0), (0, 1), (0, 2)]


def test_a_reward_of_ones_own_sees_the_problem_as_it_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sees_prompts.py").write_text(
        "def reward(prompts, completions):\n"
        "    return [float([t['content'] for t in p] == ['Add.', 'What is 0+0? Go.'])\n"
        "            for p in prompts]\n"
    )
    asked_so = kept_by("sees_prompts:reward")
    asked_so.system_prompt, asked_so.prompt_suffix = "Add.", " Go."
    answers = [Answer(0, 0, "0"), Answer(1, 0, "2")]
    tally = verified.write(tmp_path / "out", PROBLEMS, iter(answers), asked_so)
    assert (tally.kept, tally.reasons) == (1, {"sees_prompts:reward": 1})


KEPT, CUT = "", "cut at max_new_tokens"
FORMS = {
    "parts": KEPT,
    "two-parts": KEPT,
    "thinking": KEPT,
    "no-reason": KEPT,
    "some-usage": KEPT,
    "null-usage": KEPT,
    "no-usage": KEPT,
    "null": KEPT,
    "max_tokens": CUT,
    "MAX_TOKENS": CUT,
    "model_length": CUT,
    "content_filter": "teacher refused: content_filter",
    "SAFETY": "teacher refused: safety",
    "refusal": "teacher refused: a refusal",
    "refusal-part": "teacher refused: a refusal",
    "half-sign": "a half of a sign in a text",
}


def test_the_forms_of_other_servers_are_read_at_once(tmp_path: Path) -> None:
    texts = [f"poison {form} 1+1" for form in FORMS]
    problems = Dataset.from_dict({"problem": texts, "answer": ["2"] * len(texts)})
    with serving(tmp_path / "asked") as server:
        answers = list(distill.collected(run(tmp_path, server.server_port, samples=1), problems))
    assert len((tmp_path / "asked").read_text().splitlines()) == len(FORMS)
    tokens = {text: answer.completion_tokens for text, answer in zip(FORMS, answers, strict=True)}
    silent = ("some-usage", "null-usage", "no-usage", "null")
    assert tokens == {form: 0 if form in silent else 5 for form in FORMS}
    tally = verified.write(tmp_path / "out", problems, iter(answers), kept_by("math", "format"))
    assert tally.kept == 8
    rejected = Dataset.from_parquet(str(tmp_path / "out" / "rejected" / "train.parquet"))
    reasons = dict(zip(rejected["problem"], rejected["reason"], strict=True))
    wanted = dict(zip(texts, FORMS.values(), strict=True))
    assert reasons == {text: reason for text, reason in wanted.items() if reason}
    said = dict(zip(rejected["problem"], rejected["completion"], strict=True))
    assert said["poison refusal 1+1"] == said["poison refusal-part 1+1"] == "I cannot."
    assert said["poison half-sign 1+1"].endswith(" ?")


def test_a_file_of_answers_without_counts_is_read(tmp_path: Path) -> None:
    row = {"problem": 0, "sample": 0, "text": "4", "prompt_tokens": None, "completion_tokens": None}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
    assert list(Answers(tmp_path / "samples.jsonl")) == [Answer(0, 0, "4")]

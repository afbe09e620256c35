"""How problems are asked: the recipe's suffix in training and when scored, over-long ones aside."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from tests.chats import templates
from tests.training.conftest import Tiny

from moxin_recipes.hub.splits import load_split
from moxin_recipes.problems.prompts import as_prompts
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import held_out
from moxin_recipes.stages.grpo import last_reward
from moxin_recipes.teachers import ask

SUFFIX = " Answer in \\boxed{}."
PROBLEMS = Dataset.from_list(
    [{"problem": "12 or 13?", "answer": "12"}, {"problem": "many " * 60, "answer": "13"}]
)


def test_grpo_asks_with_the_suffix_and_leaves_out_what_is_too_long(tiny: Tiny) -> None:
    def problems() -> Problems:
        return Problems(PROBLEMS, ("problem", "answer"), "dataset_name")

    read = problems()
    prompts = as_prompts(read, tiny.tokenizer, 64, SUFFIX)
    assert read.left_out().to_list() == [{"problem": 1, "reason": "too long to ask"}]
    assert prompts.to_list() == [
        {
            "prompt": [{"role": "user", "content": "12 or 13?" + SUFFIX}],
            "answer": "12",
            "problem": "12 or 13?",
        }
    ]
    line = r"2 too long to ask; `max_prompt_length` decides on most of them"
    with pytest.raises(RecipeError, match=line):
        as_prompts(problems(), tiny.tokenizer, 3, SUFFIX)


def test_a_suffix_that_is_there_is_not_asked_twice(tiny: Tiny) -> None:
    rows = {"problem": ["1+1?", f"1+1?{SUFFIX}", SUFFIX], "answer": ["2"] * 3}
    read = Problems(Dataset.from_dict(rows), ("problem", "answer"), "dataset_name")
    asked = [row[0]["content"] for row in as_prompts(read, tiny.tokenizer, 99, SUFFIX)["prompt"]]
    assert asked == [f"1+1?{SUFFIX}", f"1+1?{SUFFIX}", SUFFIX]
    keys: Any = SimpleNamespace(seed=0, prompt_suffix=SUFFIX, system_prompt=None)
    assert [ask.request(keys, 0, 0, text).prompt for text in rows["problem"]] == asked


def problems_of(*texts: Any, answer: str = "2") -> Problems:
    rows = Dataset.from_dict({"problem": [*texts], "answer": [answer] * len(texts)})
    return Problems(rows, ("problem", "answer"), "dataset_name")


def held_out_keys(**more: Any) -> Any:
    """What `held_out` needs of a recipe's keys."""
    return SimpleNamespace(
        **{"eval_problem_column": "problem", "eval_answer_column": "answer"},
        **{"problems_name": "o/p", "problems_config": None, "eval_split": "test", "eval_rows": 9},
        **{"longer_split": None, "prompt_suffix": "", "system_prompt": None} | more.pop("said", {}),
        **{"answer_format": "chain"} | more,
    )


DROPS = ": it leaves out a part of what the system says; "
REFUSES = ": it refuses the chat (System role not supported); "


@pytest.mark.parametrize(
    ("template", "line"),
    [
        (templates.GEMMA, REFUSES),
        (templates.ZEPHYR.replace("m.role == 'system'", "false"), DROPS),
        (templates.VICUNA.replace("{% else %}", "{% elif m.role == 'assistant' %}"), DROPS),
        (templates.CHATML, ""),
        (templates.LLAMA3, ""),
    ],
)
def test_a_system_prompt_that_is_not_written_is_one_line(
    tmp_path: Path, template: str, line: str
) -> None:
    """Its words stand in the question, too: what counts is whether the turn is written."""
    tokenizer = templates.tokenizer("</s>", template)
    text = "What is 1+1? Add."
    problems_of(text).usable().to_parquet(tmp_path / "test.parquet")
    as_prompts(problems_of(text), tokenizer, 999)  # without one
    keys = held_out_keys(said={"system_prompt": "Add."})
    starts: list[Callable[[], Any]] = [
        lambda: as_prompts(problems_of(text), tokenizer, 999, "", "Add."),
        lambda: held_out.prove(lambda _: tmp_path, keys, tokenizer),
    ]
    for start in starts:
        with pytest.raises(RecipeError) if line else contextlib.nullcontext() as refused:
            start()
        if refused:
            begin = f"`system_prompt`: the model's chat template does not write it{line}take it out"
            assert str(refused.value).startswith(begin)


def test_what_cannot_be_asked_is_left_out_of_training_and_of_scores(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["1+1?", "what is </s> for?", "<s>", "1 < 2 > 1?", "no <pad>, please"]
    special = [{"problem": row, "reason": "special token in a text"} for row in (1, 2, 4)]
    read = problems_of(*texts)
    assert as_prompts(read, tiny.tokenizer, 99)["problem"] == ["1+1?", "1 < 2 > 1?"]
    assert read.left_out().to_list() == special
    problems_of(*texts).usable().to_parquet(tmp_path / "test.parquet")
    held_out.prove(lambda _: tmp_path, held_out_keys(), tiny.tokenizer)
    assert "`problems_name`: 3 of 5 problems are left out: 3 special token in a text" in caplog.text
    (kept,) = held_out.left_out(lambda _: tmp_path, held_out_keys(), tiny.tokenizer).values()
    assert kept.to_list() == special


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("{{ m.content.split('#')[0] }}", "it leaves out a part of what the user says"),
        ("{% if '#' in m.content %}{{ raise_exception('No #!') }}{% endif %}{{ m.content }}",
         "it refuses the chat (No #!)"),
        ("{% if '#' in m.content %}{{ 1 // 0 }}{% endif %}{{ m.content }}",
         "it refuses the chat (integer division or modulo by zero)"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{% if '#' in m.content %}{{ f(1) }}{% endif %}"
         "{{ m.content }}", "it refuses the chat (maximum recursion depth exceeded"),
    ],
)  # fmt: skip
def test_a_problem_that_the_template_does_not_write_is_left_out(code: str, reason: str) -> None:
    template = templates.CHATML.replace("{{ m.content", code + "{{ ''")
    tokenizer = templates.tokenizer("<|im_end|>", template)
    read = problems_of("1+1?", "1 # 2?")
    assert as_prompts(read, tokenizer, 999)["problem"] == ["1+1?"]
    (row,) = read.left_out()
    assert row["problem"] == 1
    assert row["reason"].startswith(f"the chat template: {reason}")
    with pytest.raises(RecipeError, match=r"; `model_name_or_path` decides on most of them"):
        as_prompts(problems_of("# 1", "# 2"), tokenizer, 99)


@pytest.mark.parametrize("split", ["eval_split", "longer_split"])
def test_a_chain_that_is_to_be_begun_has_a_beginning(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture, split: str
) -> None:
    begun = ["<think>\n1+1", None, 3]
    lines = [
        {"problem": f"{n}?", "answer": "2", "chain_prefix": one} for n, one in enumerate(begun)
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    keys = held_out_keys(said={split: "test"} if split != "eval_split" else {})
    read = held_out.held_out_problems(lambda _: tmp_path, keys, tiny.tokenizer)
    assert [problems.usable()["chain_prefix"][:] for problems in read.values()] == [
        ["<think>\n1+1"]
    ] * len(read)
    held_out.prove(lambda _: tmp_path, keys, tiny.tokenizer)
    assert "`problems_name`: 2 of 3 problems are left out: 2 no `chain_prefix`" in caplog.text
    keys = held_out_keys(answer_format="plain")
    (plain,) = held_out.held_out_problems(lambda _: tmp_path, keys, tiny.tokenizer).values()
    assert len(plain.usable()) == 3


@pytest.mark.parametrize("gold", ["4", "4 ", " 4", "4\n"])
@pytest.mark.parametrize(
    ("reply", "right"),
    [("4", 1), (" 4 ", 1), ("2+2=4", 1), ("2+2 = 4", 1), ("x=3=4\n", 1), ("4=3", 0), ("14", 0)],
)
def test_a_plain_reply(gold: str, reply: str, right: int) -> None:
    assert held_out.plain_rewards([reply], [gold]) == [right]


def test_a_plain_reply_may_be_an_equation() -> None:
    assert held_out.plain_rewards(["x=4", "y=4", "4"], ["x=4"] * 3) == [1, 0, 0]


def test_held_out_problems_are_asked_the_same_way(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answered(_: Any, __: Any, prompts: list[str], *___: Any) -> list[held_out.Completion]:
        asked.extend(prompts)
        return [held_out.Completion("<think>\n</think>\n\\boxed{12}", True)] * len(prompts)

    monkeypatch.setattr(held_out, "generate", answered)
    scores, _ = held_out.answers(
        *(tiny.folder, PROBLEMS, "chain"), suffix=SUFFIX, samples=1, max_new_tokens=4, seed=0
    )
    assert all(prompt.endswith(f"{SUFFIX}\n<|assistant|>\n") for prompt in asked)
    assert scores["accuracy"] == 0.5


def test_a_public_test_set_needs_no_config_of_its_own(tmp_path: Path) -> None:
    PROBLEMS.to_parquet(tmp_path / "test.parquet")
    split = load_split(tmp_path, None, "test", ["problem", "answer"], "problems_name")
    assert split["answer"][:] == ["12", "13"]


def test_held_out_problems_that_cannot_be_used_are_said_and_kept_aside(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {"problem": ["1+1?", " ", "2+2?", "3+3?"], "answer": ["2", "1", None, "6"]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "test.parquet")
    keys = held_out_keys()
    held_out.prove(lambda _: tmp_path, keys, tiny.tokenizer)
    assert "`problems_name`: 2 of 4 problems are left out: 1 empty problem, 1 no " in caplog.text
    (kept,) = held_out.left_out(lambda _: tmp_path, keys, tiny.tokenizer).items()
    assert kept[0] == "problems_left_out"
    assert kept[1].to_list() == [
        {"problem": 1, "reason": "empty problem"},
        {"problem": 2, "reason": "no answer"},
    ]


def test_the_reward_is_the_mean_of_the_last_logged_ones() -> None:
    log = [{"reward": float(step)} for step in range(12)]
    assert last_reward([*log, {"train_loss": 0.5}]) == {"reward": 6.5}
    assert last_reward([{"train_loss": 0.5}]) == {}  # `logging_steps` above `max_steps`

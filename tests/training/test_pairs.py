"""Preference pairs: both layouts read alike; what is not trained on is counted and listed."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from tests.chats import templates
from tests.tiny import turns
from tests.training.conftest import Tiny, quiet
from trl import DPOConfig, DPOTrainer

from moxin_recipes.chats.pairs import Pairs
from moxin_recipes.recipe.strict import RecipeError

LENGTH = 64


def whole_chats(question: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    """A pair as those of Tülu 3: two whole chats, and the question as a string beside them."""
    return {
        "prompt": question,
        "chosen": turns(question, chosen),
        "rejected": turns(question, rejected),
        **more,
    }


def trained(tiny: Tiny, folder: Path, rows: list[dict[str, Any]], batch: int) -> tuple[Any, Pairs]:
    """The trainer as the stage makes it, and its pairs."""
    pairs = Pairs(Dataset.from_list(rows), tiny.tokenizer, folder, "dataset_name")
    trainer = DPOTrainer(
        model=tiny.model(),
        args=DPOConfig(
            **quiet(folder, per_device_train_batch_size=batch, max_length=LENGTH),
            loss_type=["sigmoid_norm"],
            precompute_ref_log_probs=True,
        ),
        train_dataset=pairs.usable(),
        processing_class=tiny.tokenizer,
    )
    trainer.train_dataset = pairs.full_batches(trainer.train_dataset, batch, LENGTH)
    return trainer, pairs


def test_whole_chats_are_the_same_pairs_as_a_prompt_with_two_answers(
    tiny: Tiny, tmp_path: Path
) -> None:
    texts = [("how many?", str(n), f"{n} or {n + 1}") for n in range(4)]
    wholes = [whole_chats(*text, source="x") for text in texts]
    split = [
        {"prompt": row["chosen"][:1], "chosen": row["chosen"][1:], "rejected": row["rejected"][1:]}
        for row in wholes
    ]
    results = []
    for name, rows in (("whole", wholes), ("split", split)):
        trainer, _ = trained(tiny, tmp_path / name, rows, 4)
        ids = trainer.train_dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])
        results.append((ids.to_list(), trainer.train().training_loss))
    assert results[0] == results[1]
    decoded = [tiny.tokenizer.decode(row["chosen_ids"]) for row in results[0][0]]
    assert [text.split("</s>")[0] for text in decoded] == ["0", "1", "2", "3"]
    assert {row["prompt_ids"][0] for row in results[0][0]} == {tiny.tokenizer.bos_token_id}


def test_what_is_not_trained_on_is_counted_and_listed(tiny: Tiny, tmp_path: Path) -> None:
    good = whole_chats("how many?", "12", "13")
    rows = [
        good,
        whole_chats("many " * 90, "12", "13"),
        whole_chats("how many?", "12 </s> many", "13"),
        {**good, "rejected": turns("how?", "13")},
        whole_chats("how many?", "12", ""),
        {**good, "chosen": []},
        whole_chats("how many?", "12", "13 or " * 60),
        good,
    ]
    trainer, pairs = trained(tiny, tmp_path, rows, 2)
    assert trainer.train_dataset["pair"][:] == [0, 6]  # full batches of what TRL keeps
    assert pairs.left_out().to_dict() == {
        "pair": [1, 2, 3, 4, 5, 7],
        "reason": [
            "prompt too long",
            "special token in a text",
            "no shared prompt",
            "empty turn",
            "no answer",
            "last batch not full",
        ],
    }
    assert pairs.counts == {
        "pairs": 8,
        "left out (empty turn)": 1,
        "left out (last batch not full)": 1,
        "left out (no answer)": 1,
        "left out (no shared prompt)": 1,
        "left out (prompt too long)": 1,
        "left out (special token in a text)": 1,
        "truncated": 1,
    }
    with pytest.raises(RecipeError, match="`global_batch_size`: 4 pairs, but only 3 can be used"):
        trained(tiny, tmp_path / "4", rows, 4)
    with pytest.raises(RecipeError, match="`dataset_name`: none of its 1 pairs can be used"):
        trained(tiny, tmp_path / "0", rows[2:3], 1)


def test_answers_that_the_cut_makes_equal_are_left_out(tiny: Tiny, tmp_path: Path) -> None:
    same = "many or " * 60
    rows = [whole_chats("how many?", same + "12", same + "13"), whole_chats("how?", "12", "13")]
    trainer, pairs = trained(tiny, tmp_path, rows, 1)
    assert trainer.train_dataset["pair"][:] == [1]
    assert pairs.left_out().to_list() == [{"pair": 0, "reason": "equal answers when cut"}]


def test_a_pair_that_the_template_cannot_write_has_its_reason(tmp_path: Path) -> None:
    """The prompt opens a thought, and TRL would train answers after a prompt without it."""
    tokenizer = templates.tokenizer("</s>", templates.OPENS)
    rows = [
        whole_chats("how?", f"<think>\nwell\n</think>{right}", "<think>\nno\n</think>13")
        for right in ("12", "so")
    ]
    rows.insert(1, whole_chats("how?", "12", "<think>\nno\n</think>13"))
    pairs = Pairs(Dataset.from_list(rows), tokenizer, tmp_path, "dataset_name")
    reason = "the chat template: the prompt opens <think>, and an answer does not begin with it"
    assert pairs.counts == {"pairs": 3, f"left out ({reason})": 1}
    assert pairs.left_out().to_list() == [{"pair": 1, "reason": reason}]


NO_SYSTEM = templates.CHATML.replace("in messages %}", "in messages if m.role != 'system' %}")


def test_a_prompt_that_the_template_does_not_write_whole_leaves_the_pair_out(
    tmp_path: Path,
) -> None:
    """Its words stand in the question, too."""
    tokenizer = templates.tokenizer("</s>", NO_SYSTEM)
    rows: list[dict[str, Any]] = [
        {"prompt": "so many?", "chosen": "12", "rejected": "13", "system": text}
        for text in ("many", None)
    ]
    pairs = Pairs(Dataset.from_list(rows), tokenizer, tmp_path, "dataset_name")
    reason = "the chat template: it leaves out a part of what the system says"
    assert pairs.left_out().to_list() == [{"pair": 0, "reason": reason}]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"question": "how?", "chosen": "12", "rejected": "13"},
            "`prompt_column`: the dataset has no column `prompt` (it has: question, chosen, "
            "rejected), and its answers begin with no shared prompt; 1 of 1 pairs are left out: 1",
        ),
        (
            {"prompt": None, "chosen": "12", "rejected": "13"},
            "`dataset_name`: none of its 1 pairs can be used; 1 of 1 pairs are left out: 1 no "
            "shared prompt; `prompt_column` decides on most of them; such as “12",
        ),
        (
            {"question": "how?", "chosen": "12", "rejected": ""},
            "`dataset_name`: none of its 1 pairs can be used; 1 of 1 pairs are left out: 1 no ",
        ),
    ],
)
def test_without_a_prompt_the_line_names_its_column(
    tiny: Tiny, tmp_path: Path, row: dict[str, Any], line: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        Pairs(Dataset.from_list([row]), tiny.tokenizer, tmp_path, "dataset_name")
    assert str(refused.value).startswith(line)


def test_fields_that_a_table_fills_with_null_are_not_there(tiny: Tiny, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": turns("how?"), "chosen": turns("", "12")[1:], "rejected": turns("", "13")[1:]},
        {
            "prompt": [{**turns("how?")[0], "tool_calls": None, "value": "x"}],
            "chosen": turns("", "12")[1:],
            "rejected": [{"role": "assistant", "content": "13", "thinking": None}],
        },
    ]
    table = Dataset.from_list(rows)
    assert table[0]["prompt"][0]["value"] is None
    pairs = Pairs(table, tiny.tokenizer, tmp_path, "dataset_name")
    first, second = [{**row, "pair": 0} for row in pairs.usable()]
    assert first == second

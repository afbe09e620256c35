"""SFT reads chats as they come: from its recipe's keys to packed rows, and what it says of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import turns
from tests.training.conftest import Tiny
from tests.training.test_overlap import job

from moxin_recipes.chats.pack import PackedRows
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.stages import dpo, sft
from moxin_recipes.training.post_training import PostTraining


def packed(tiny: Tiny, folder: Path, rows: list[dict[str, Any]], **keys: Any) -> PackedRows:
    folder.mkdir(exist_ok=True)
    run = job(tiny, folder, rows, **{"decontaminate": [], **keys})
    return sft.packed_chats(run, PostTraining(run))


def texts(tiny: Tiny, rows: PackedRows) -> set[str]:
    ids = [token for row in rows for token in row["input_ids"].tolist()]
    return {
        text.replace("<pad>", "").strip() for text in tiny.tokenizer.decode(ids).split("<s>")[1:]
    }


def test_the_keys_of_the_recipe_reach_the_chats(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = [
        {"chat": [*turns("how many?"), {"from": "gpt", "value": "12", "train": True}], "id": 1},
        {"chat": json.dumps(turns("how?", "so")), "id": "two", "system": "Count."},
        {"chat": [{"from": "human", "value": [{"type": "text", "text": "12"}]}], "id": 3},
    ]
    keys = {"messages_column": "chat", "system_prompt": "Be.", "prompt_suffix": " Box it."}
    chats = packed(tiny, tmp_path, rows, **keys)
    tags = "<|system|>\n{}\n<|user|>\n{} Box it.\n<|assistant|>\n{}</s>"
    said = {tags.format("Be.", "how many?", "12"), tags.format("Count.", "how?", "so")}
    assert texts(tiny, chats) == said
    assert chats.counts == {"chats": 3, "left out (no answer)": 1}
    assert caplog.messages == [
        "`dataset_name`: chats are read from `chat`, with `system`; not read: id",
        "further fields of turns only go to the template: train",
    ]


def test_where_most_chats_cannot_be_read_a_line_says_why(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = [{"messages": [{"role": "critic", "content": "so"}, *turns("how?", "12")]}] * 3
    chats = packed(tiny, tmp_path / "a", [*strange, {"messages": turns("how?", "so")}])
    assert chats.left_out()["reason"][:] == ["unknown role critic"] * 3
    (line,) = caplog.messages
    assert line == (
        "3 of 4 chats are left out: 3 unknown role critic; `dataset_name` decides on most of them; "
        "such as “so how? 12” · “so how? 12” · “so how? 12”"
    )
    with pytest.raises(RecipeError) as refused:
        packed(tiny, tmp_path / "b", strange)
    assert str(refused.value) == (
        "`dataset_name`: no chat of 64 tokens can be used; 3 of 3 chats are left out: 3 unknown "
        "role critic; `dataset_name` decides on most of them"
    )


def test_a_wrong_column_ends_the_stage_before_a_model_is_loaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostTraining, "model", None)
    for place, (row, key, line) in enumerate(
        [
            ({"instruction": "how?", "output": "12"}, None, "nor both `prompt` and `completion`"),
            (
                {"messages": turns("how?", "so")},
                "chat",
                "`messages_column`: the dataset has no col",
            ),
        ]
    ):
        with pytest.raises(RecipeError, match=line):
            packed(tiny, tmp_path / str(place), [row], messages_column=key)


def test_tools_that_the_template_does_not_write_leave_the_chat_out(
    tiny: Tiny, tmp_path: Path
) -> None:
    row = {"messages": turns("how many?", "12"), "tools": [{"name": "count"}]}
    other = {"messages": turns("how?", "so"), "tools": "[]"}
    chats = packed(tiny, tmp_path, [row, other])
    assert chats.left_out()["reason"][:] == ["the chat template: it leaves out the tools"]


@pytest.mark.parametrize("stage", ["chats", "pairs"])
def test_a_system_prompt_that_the_template_does_not_write_ends_the_stage(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(PostTraining, "model", None)
    rows = [{"messages": turns("how?", "so"), "prompt": "how?", "chosen": "12", "rejected": "13"}]
    run = job(tiny, tmp_path, rows, decontaminate=[], system_prompt="how")
    tuning = PostTraining(run)
    wrote = str(tuning.tokenizer.chat_template)
    drops = wrote.replace("in messages -%}", "in messages if message['role'] != 'system' -%}")
    tuning.tokenizer.chat_template = drops
    line = "^`system_prompt`: the model's chat template does not write it: it leaves out a part of "
    with pytest.raises(RecipeError, match=line):
        sft.packed_chats(run, tuning) if stage == "chats" else dpo.read_pairs(run, tuning, "train")


def test_pairs_of_json_files_are_as_they_stand_there(tiny: Tiny, tmp_path: Path) -> None:
    """In one file, texts beside turns, parts beside texts, texts that are JSON."""
    how = turns("how many?")
    typed = [{"from": "gpt", "value": [{"type": "text", "text": "12"}]}]
    rows = [
        {"prompt": "how many?", "chosen": "12", "rejected": "[13]", "tools": []},
        {"prompt": how, "chosen": turns("", "12")[1:], "rejected": turns("", "13")[1:]},
        {"chosen": turns("how many?", "12"), "rejected": turns("how many?", "13")},
        {"prompt": "how many?", "chosen": typed, "rejected": [{"from": "gpt", "value": "13"}]},
        {"prompt": turns("and?"), "chosen": turns("how?", "12"), "rejected": turns("how?", "13")},
    ]
    run = job(tiny, tmp_path, rows, decontaminate=[])
    pairs = dpo.read_pairs(run, PostTraining(run), "train")
    read = [(row["prompt"], row["chosen"][0]["content"]) for row in pairs.usable()]
    assert read == [(how, "12")] * 4
    rejected = [row["rejected"][0]["content"] for row in pairs.usable()]
    assert rejected == ["[13]", "13", "13", "13"]
    assert pairs.left_out()["reason"][:] == ["its chats do not repeat the prompt"]

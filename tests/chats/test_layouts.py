"""Chats as they come: each row of docs/chats.md, and more of each kind; what is learned of them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tests.chats import templates
from tests.conftest import ROOT
from tests.tiny import tiny_tokenizer, turns

from moxin_recipes.chats.layouts import Chat, layout_of
from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.chats.rendering import Unusable
from moxin_recipes.chats.template import encode
from moxin_recipes.chats.turns import ROLES, turns_of
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.strict import RecipeError

HI = [{"role": "user", "content": "Hi"}]
HO = [{"role": "assistant", "content": "Ho"}]
PARTS = [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]
# Its turns begin with a colon; it writes tools and calls.
TOOLS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + templates.CHATML.replace(
    "{{ m.content +", "{{ m.content + (m.tool_calls or '') | string +"
)


def rows_of_the_page(section: str) -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "chats.md").read_text(encoding="utf-8")
    table = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [(row[3:-1], read[:-2]) for row, _, read in (one.partition(" | ") for one in lines)]


READ = rows_of_the_page("Rows that are read")
LEFT_OUT = rows_of_the_page("Rows that are left out")


def chat_of(row: dict[str, Any], **keys: Any) -> Chat:
    return layout_of(list(row), **keys).chat(row)


def said(turn: dict[str, Any]) -> str:
    calls = [call["function"] for call in turn.get("tool_calls", [])]
    made = [f"{call['name']}({json.dumps(call['arguments'])})" for call in calls]
    return turn["content"] + "".join(made)


def shown(chat: Chat) -> str:
    """As the page writes it: what is learned is bold."""
    parts = [f"tools: {', '.join(t['function']['name'] for t in chat.tools)}"] if chat.tools else []
    for place, turn in enumerate(chat.messages):
        text = f"{turn['role']}: {said(turn)}"
        learned = turn["role"] == "assistant" and place not in chat.unlearned
        parts.append(f"**{text}**" if learned else text)
    return " · ".join(parts)


def reason_of(row: dict[str, Any], **keys: Any) -> str:
    with pytest.raises(Unusable) as refused:
        chat_of(row, **keys)
    return str(refused.value)


def packed(rows: list[Any], jinja: str, folder: Path, **keys: Any) -> Any:
    """The rows as one JSON Lines file holds them, encoded by a template; their tokenizer, too."""
    folder.mkdir(exist_ok=True)
    (folder / "chats.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    chats = load_split(folder, None, "train", [], "dataset_name", as_written=True)
    tokenizer = templates.tokenizer("<|im_end|>", jinja)
    layout = layout_of(chats.column_names, **keys)
    return tokenizer, encode_chats(chats, tokenizer, 2000, folder / "chats", None, (), layout)


@pytest.mark.parametrize(("row", "read"), READ)
def test_a_row_of_the_page_is_read_as_it_says(row: str, read: str) -> None:
    given = json.loads(row)
    assert shown(chat_of(given)) == read
    assert chat_of(given) == chat_of({**given, "id": "x", "label": 3})
    assert repr(given) == repr(json.loads(row))  # as it was


def test_the_answers_of_the_page_are_the_labels(tmp_path: Path) -> None:
    tokenizer, encoded = packed([json.loads(row) for row, _ in READ], TOOLS, tmp_path)
    assert set(encoded["left_out"]) == {""}
    for row, (_, read) in zip(encoded, READ, strict=True):
        learned = tokenizer.decode(np.array(row["ids"])[row["spoken"]])
        answers = [part[13:-2] for part in read.split(" · ") if part.startswith("**")]
        ends = learned.split("<|im_end|>")
        assert len(ends) == len(answers) + 1
        for end, answer in zip(ends, answers, strict=False):
            name, call, _ = answer.partition("(")
            assert f"'name': '{name}'" in end if call else end == answer


def test_rows_of_the_page_are_left_out_with_their_reasons(tmp_path: Path) -> None:
    rows = [json.loads(row) for row, _ in LEFT_OUT]
    _, encoded = packed([*rows, {"messages": HI + HO}], templates.CHATML, tmp_path)
    rows = PackedRows(encoded, 2000, 1, 0, 1, pad=3)
    assert rows.left_out().to_dict() == {
        "chat": [*range(len(LEFT_OUT))],
        "reason": [reason for _, reason in LEFT_OUT],
    }
    assert rows.counts["left out (empty turn)"] == 3


def test_the_page_has_rows() -> None:
    assert (len(READ), len(LEFT_OUT)) == (26, 27)
    assert "](chats.md)" in (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("role", "names"), ROLES.items())
def test_roles_have_the_names_of_the_page(role: str, names: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "chats.md").read_text(encoding="utf-8")
    for name in (*names, names[-1].upper(), f" {names[0].title()} "):
        turn = {"from": name, "value": "So"}
        assert turns_of([turn], "chosen") == [{"role": role, "content": "So"}]
        assert f"`{name.strip().lower()}`" in page


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([{"from": "Alice\n\x1b[2J", "value": "Hi"}], "unknown role Alice [2J"),
        ([{"role": "critic" * 20, "content": "Hi"}], f"unknown role {'critic' * 5}"),
        (
            [{"role": None, "from": None, "content": "Hi"}],
            "a turn has neither role nor from (it has ",
        ),
        ([{"role": 3, "content": "Hi"}], "unknown role 3"),
        ([None], "empty turn"),
        ([{}], "empty turn"),
        (["Hi", "Ho"], "a turn in chosen is a text, without a role"),
        ([["user", "Hi"]], "a turn in chosen is a list, without a role"),
        ([12], "a turn in chosen is a int, without a role"),
        ([{"role": "user"}], "empty turn"),
        (
            [{"role": "user", "body": "Hi"}],
            "a turn has neither content nor value (it has r",
        ),
        (
            [{"role": "user", "content": None, "body": "Hi"}],
            "a turn has neither content nor value",
        ),
        ([{"role": "user", "content": [None]}], "content that is no text"),
        ([{"role": "user", "content": math.nan}], "empty turn"),
        ([{"role": "user", "content": math.inf}], "empty turn"),
        (
            [{"role": "user", "content": '[{"type": "image_url", "image_url": {}}]'}],
            "content of type image_url",
        ),
        (7, "chosen is no list of turns"),
        ({"role": "user", "content": "Hi"}, "chosen is no list of turns"),
        ("[{'role': 'user', 'content': 'Hi'}]", "chosen is a text that is not JSON"),
        ("", "chosen is a text that is not JSON"),
        (None, "no turns"),
        ("[]", "no turns"),
        ([{"role": "user", "content": [{"type": "audio", "audio": "x"}]}], "content of type audio"),
        ([{"role": "user", "content": [{"type": "text", "text": 3}]}], "content of type text"),
        ([{"role": "user", "content": [3]}], "content that is no text"),
        ([{"role": "user", "content": {"a": 1}}], "content that is no text"),
        ([{"role": "user", "content": True}], "content that is a bool"),
        (
            [{"role": "user", "content": "Hi", "weight": "no"}],
            "weight no, which is neither 0 nor 1",
        ),
        ([{"role": "user", "content": "Hi", "weight": -1}], "weight -1, which is neither 0 nor 1"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "a call of a tool has no name"),
        ([{"role": "assistant", "tool_calls": "add"}], "a call of a tool has no name"),
        ([{"from": "function_call", "value": "add(1)"}], "a call of a tool has no name"),
    ],
)
def test_what_is_no_turn_has_its_reason(value: Any, reason: str) -> None:
    with pytest.raises(Unusable) as refused:
        turns_of(value, "chosen")
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)


def test_fields_that_tables_fill_with_null_are_not_there() -> None:
    rows = [
        {"messages": [{**HI[0], "name": "Al", "weight": 1}, {**HO[0], "tool_calls": None}]},
        {
            "messages": [
                *HI,
                {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{}"}]},
            ]
        },
        {"messages": [*HI, {**HO[0], "reasoning_content": "Hm"}], "tools": [{"name": "f"}]},
    ]
    table = Dataset.from_list([{"tools": None} | row for row in rows])
    assert table[0]["messages"][1]["reasoning_content"] is None
    layout = layout_of(table.column_names)
    for given, row in zip(rows, table, strict=True):
        assert layout.chat(row) == chat_of(given)
        for turn in layout.chat(row).messages:
            assert None not in turn.values()
    assert layout.chat(table[0]).messages == [{**HI[0], "name": "Al"}, *HO]


@pytest.mark.parametrize("weight", [0, 0.0, False, "0", "0.0", "False"])
def test_weights_that_are_nothing(weight: Any) -> None:
    chat = chat_of({"messages": [*HI, {**HO[0], "weight": weight}, *HI, *HO]})
    assert shown(chat) == "user: Hi · assistant: Ho · user: Hi · **assistant: Ho**"


@pytest.mark.parametrize("weight", [1, 1.0, True, "1", None])
def test_weights_that_are_one(weight: Any) -> None:
    assert chat_of({"messages": [*HI, {**HO[0], "weight": weight}]}).unlearned == ()


ONE, BE = "user: Hi · **assistant: Ho**", "system: Be. · user: Hi · **assistant: Ho**"


@pytest.mark.parametrize(
    ("row", "read"),
    [
        ({"prompt": "Hi", "completion": '{"a": [1]}'}, 'user: Hi · **assistant: {"a": [1]}**'),
        ({"prompt": "[1]", "completion": "[]"}, "user: [1] · **assistant: []**"),
        (
            {"prompt": "Hi", "completion": '[{"name": "x", "type": "y"}]'},
            'user: Hi · **assistant: [{"name": "x", "type": "y"}]**',
        ),
        (
            {"prompt": '[{"from": "A", "to": "B"}]', "completion": '[{"role": "x"}]'},
            'user: [{"from": "A", "to": "B"}] · **assistant: [{"role": "x"}]**',
        ),
        (
            {"prompt": "Hi", "completion": "Ho", "system": '{"mode": 1}'},
            'system: {"mode": 1} · user: Hi · **assistant: Ho**',
        ),
        ({"prompt": PARTS, "completion": PARTS[:1]}, "user: Hi! · **assistant: Hi**"),
        # One turn, as an object or as its text, in each of the columns.
        ({"prompt": HI[0], "completion": HO[0]}, ONE),
        ({"prompt": json.dumps(HI[0]), "completion": json.dumps(HO[0])}, ONE),
        (
            {
                "prompt": {"from": "human", "value": "Hi"},
                "completion": {"role": "bot", "text": "Ho"},
            },
            ONE,
        ),
        ({"prompt": "Hi", "completion": {"text": "Ho"}}, ONE),
        ({"system": {"role": "system", "content": "Be."}, "prompt": "Hi", "completion": "Ho"}, BE),
        ({"system": [{"from": "system", "value": "Be."}], "messages": HI + HO}, BE),
        ({"system": '{"role": "system", "content": "Be."}', "messages": HI + HO}, BE),
        ({"system": PARTS[:1], "messages": HI + HO}, f"system: Hi · {ONE}"),
        *(({"system": empty, "messages": HI + HO}, ONE) for empty in (math.nan, " ", [], {}, None)),
        (
            {"prompt": "Hi", "completion": '{"role": "admin", "content": "x"}'},
            'user: Hi · **assistant: {"role": "admin", "content": "x"}**',
        ),
        # A text is a text, whatever it looks like; a number is its digits.
        *(
            ({"prompt": "Hi", "completion": text}, f"user: Hi · **assistant: {text}**")
            for text in ("null", "true", "NaN", "[]", '["5", "6"]', "{}", '{"0": "Hi"}', "007", 7)
        ),
        (
            {"messages": [*HI, {"role": "assistant", "content": '["a"]'}]},
            'user: Hi · **assistant: ["a"]**',
        ),
        (
            {"messages": [{"role": "user", "content": json.dumps(PARTS)}, *HO]},
            "user: Hi! · **assistant: Ho**",
        ),
        # The first that is not empty; `role` and `content` win, whatever else there is.
        *(
            ({"messages": empty, "conversations": HI + HO}, ONE)
            for empty in (
                None,
                math.nan,
                "",
                " ",
                "null",
                "[]",
                [],
                {},
                {"role": [], "content": []},
            )
        ),
        *(
            ({"messages": [turn, *HO]}, ONE)
            for turn in (
                {"role": "user", "text": "Hi"},
                {"from": "human", "message": "Hi"},
                {"role": "user", "content": None, "text": "Hi"},
                {"role": "user", "content": "", "value": "Hi", "text": "x"},
                {"role": "user", "content": "Hi", "value": 3, "from": "web"},
                {"role": "user", "text": [{"type": "text", "text": "Hi"}]},
            )
        ),
        (
            {"prompt": json.dumps(PARTS), "completion": 12, "system": json.dumps(PARTS)},
            "system: Hi! · user: Hi! · **assistant: 12**",
        ),
        (
            {"prompt": json.dumps(HI), "completion": json.dumps(HO), "system": PARTS},
            "system: Hi! · user: Hi · **assistant: Ho**",
        ),
    ],
)
def test_texts_that_are_json_beside_parts_and_turns(row: dict[str, Any], read: str) -> None:
    assert shown(chat_of(row)) == read


def test_fields_that_only_a_template_reads_are_found() -> None:
    rows = [{"messages": []}, {"messages": [*HI, {**HO[0], "train": False, "name": "Al"}]}]
    rows.append({"messages": [{**HI[0], "id": None}, {**HO[0], "mood": "gay", "weight": 1}]})
    assert layout_of(["messages"]).further(rows) == ["train", "mood"]


def test_numbers_are_written_plainly() -> None:
    for number, text in ((12, "12"), (12.0, "12"), (-0.5, "-0.5"), (10**30, str(10**30))):
        assert turns_of([{"role": "user", "content": number}], "")[0]["content"] == text


def test_a_text_that_is_json_stays_a_text(tmp_path: Path) -> None:
    answers = ["12", '{"a": 1}', "[]", "null", '"so"', "1.50"]
    rows = [{"messages": [*HI, {"role": "assistant", "content": text}]} for text in answers]
    parts = [{"type": "text", "text": "Hi"}]
    rows.append({"messages": [{"role": "user", "content": parts}, *HO]})
    tokenizer, encoded = packed(rows, templates.CHATML, tmp_path)
    learned = [tokenizer.decode(np.array(row["ids"])[row["spoken"]]) for row in encoded]
    assert learned == [f"{text}<|im_end|>" for text in (*answers, "Ho")]


def test_other_columns_and_a_column_of_ones_own() -> None:
    both = {"messages": HI + HO, "conversations": HO + HI, "chat": [*HI, *HO, *HI], "id": 3}
    assert str(layout_of(list(both))) == (
        "chats are read from `messages`, where it is empty from `conversations`; not read: chat, id"
    )
    assert shown(chat_of(both)) == "user: Hi · **assistant: Ho**"
    assert shown(chat_of(both | {"messages": []})) == "**assistant: Ho** · user: Hi"
    assert shown(chat_of(both, messages_column="chat")).endswith("Ho** · user: Hi")
    assert reason_of(both | {"chat": []}, messages_column="chat") == "no turns"
    columns = ["prompt", "completion", "system", "tools", "functions"]
    assert str(layout_of(columns)) == (
        "chats are read from `prompt` and `completion`, with `system` and `tools`; "
        "not read: functions"
    )


@pytest.mark.parametrize(
    ("columns", "key", "line"),
    [
        (["instruction", "output"], None, "(it has: instruction, output), nor both `prompt` and"),
        (["prompt", "chosen"], None, "`dataset_name`: the dataset has no column `messages` or"),
        (["messages"], "chat", "`messages_column`: the dataset has no column `chat` (it has: mes"),
    ],
)
def test_a_dataset_without_turns_is_refused(columns: list[str], key: str | None, line: str) -> None:
    with pytest.raises(RecipeError) as refused:
        layout_of(columns, key)
    assert line in str(refused.value)


def test_the_recipes_system_prompt_and_suffix() -> None:
    keys = {"system_prompt": "Be.", "suffix": " Box it."}
    row = {"messages": [*HI, *HO, {"role": "user", "content": "So? Box it."}, *HO, *HI]}
    assert shown(chat_of(row, **keys)) == (
        "system: Be. · user: Hi Box it. · **assistant: Ho** · user: So? Box it. · "
        "**assistant: Ho** · user: Hi"
    )
    own = [{"role": "system", "content": "Do."}, *HI, *HO]
    for given in ({"messages": own}, {"system": "Do.", "messages": HI + HO}):
        assert shown(chat_of(given, **keys)).startswith("system: Do. · user: Hi Box it. · **ass")
    late = {"messages": [*HI, own[0], *HO], "system": None}
    assert shown(chat_of(late, **keys)) == "user: Hi · system: Do. · **assistant: Ho**"
    asked = {"prompt": "Hi", "completion": "Ho", "system_prompt": " "}
    assert shown(chat_of(asked, **keys)) == "system: Be. · user: Hi Box it. · **assistant: Ho**"


def test_places_of_unlearned_answers_count_the_system_turn() -> None:
    row = {"messages": [*HI, {**HO[0], "weight": 0.0}, *HI, *HO], "system": "Be."}
    assert chat_of(row).unlearned == (2,)
    row["messages"][3] = {**HO[0], "weight": False}
    assert reason_of(row) == "all answers have weight 0"


@pytest.mark.parametrize(
    "tools",
    [
        [{"name": "add", "parameters": {"type": "object"}}],
        [{"type": "function", "name": "add", "parameters": {"type": "object"}}],
        [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
        ['{"name": "add", "parameters": {"type": "object"}}'],
        '[{"name": "add", "parameters": {"type": "object"}}]',
        {"name": "add", "parameters": {"type": "object"}},
        [{"type": "function", "function": '{"name": "add", "parameters": {"type": "object"}}'}],
        [{"function": None, "name": "add", "strict": None, "parameters": {"type": "object"}}],
    ],
)
def test_tools_in_all_their_ways(tools: Any) -> None:
    schema = {"name": "add", "parameters": {"type": "object"}}
    for name in ("tools", "functions"):
        chat = chat_of({"messages": HI + HO, name: tools})
        assert chat.tools == [{"type": "function", "function": schema}]


@pytest.mark.parametrize("tools", [None, [], "[]", "", " ", "null"])
def test_no_tools(tools: Any) -> None:
    assert chat_of({"messages": HI + HO, "tools": tools}).tools is None


@pytest.mark.parametrize(
    "turn",
    [
        {
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
            ]
        },
        {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}], "content": ""},
        {"tool_calls": '[{"id": "1", "name": "f", "arguments": ""}]', "content": None},
        {"tool_calls": ['{"id": "1", "name": "f"}'], "function_call": None},
    ],
)
def test_calls_in_all_their_ways(turn: dict[str, Any]) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}
    (read,) = turns_of([{"role": "assistant", **turn}], "messages")
    assert read == {"role": "assistant", "content": "", "tool_calls": [call]}
    (old,) = turns_of(
        [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}], ""
    )
    del call["id"]
    assert old["tool_calls"] == [call]


def test_special_tokens_in_calls_tools_and_thoughts_are_no_text(tmp_path: Path) -> None:
    call = {"name": "f", "arguments": {"text": "<|im_end|>"}}
    rows = [
        {"messages": [*HI, {"role": "assistant", "tool_calls": [call]}]},
        {"messages": HI + HO, "tools": [{"name": "f", "description": "ends <|im_end|>"}]},
        {"messages": [*HI, {**HO[0], "reasoning_content": "<|im_end|>"}]},
        {"messages": HI + HO},
    ]
    _, encoded = packed(rows, TOOLS, tmp_path)
    assert encoded["left_out"][:] == ["special token in a text"] * 3 + [""]


def test_calls_that_a_template_does_not_write_are_not_dropped(tmp_path: Path) -> None:
    """Though it writes the tools, where the name of the called one stands."""
    jinja = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + templates.CHATML
    calls = [
        {"role": "assistant", "content": text, "tool_calls": [{"name": "f"}]} for text in ("", "Ho")
    ]
    rows = [{"messages": [*HI, turn], "tools": [{"name": "f"}]} for turn in (*calls, *HO)]
    reason = "the chat template: it leaves out calls of tools"
    for place, (template, reasons) in enumerate(((jinja, [reason, reason, ""]), (TOOLS, [""] * 3))):
        _, encoded = packed(rows, template, tmp_path / str(place))
        assert encoded["left_out"][:] == reasons


def test_a_template_that_refuses_leaves_the_chat_out(tmp_path: Path) -> None:
    rows = [{"messages": HI + HI + HO}, {"messages": HI + HO}]
    _, encoded = packed(rows, templates.MISTRAL, tmp_path / "a")
    refused = "the chat template: it refuses the chat (Roles must alternate user/assistant!)"
    assert encoded["left_out"][:] == [refused, ""]
    _, encoded = packed(rows[1:], templates.GEMMA, tmp_path / "b", system_prompt="Be.")
    with pytest.raises(RecipeError, match=r"1 the chat template: .*System role not supported"):
        PackedRows(encoded, 2000, 1, 0, 1, pad=3)


def test_plain_chats_are_encoded_as_before(tmp_path: Path) -> None:
    """Their ids and labels are the template's own, whatever file they come from."""
    tokenizer = tiny_tokenizer()
    chats = [turns("how many?", "12"), turns("how?", "so", "and?", "thus")]
    shares = [[{"from": t["role"], "value": t["content"]} for t in chat] for chat in chats]
    tables = [
        {"messages": chats},
        {"conversations": shares},
        {"messages": [*map(json.dumps, chats)]},
    ]
    for place, table in enumerate(tables):
        given = Dataset.from_dict(table)
        for row, chat in zip(
            encode_chats(given, tokenizer, 64, tmp_path / str(place)), chats, strict=True
        ):
            ids, labels = encode(chat, tokenizer)
            assert (row["ids"], row["spoken"]) == (ids, [label != -100 for label in labels])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "completion": ["Ho", "Ya"]}, "several texts in completion"),
        ({"prompt": ["Hi", "Yo"], "completion": "Ho"}, "several texts in prompt"),
        *(
            ({"prompt": "Hi", "completion": empty}, "empty turn")
            for empty in (math.nan, math.inf, None, "", [], {}, [""])
        ),
        ({"prompt": math.nan, "completion": math.nan}, "no turns"),
        ({"prompt": "Hi", "completion": True}, "content that is a bool"),
        ({"prompt": "Hi", "completion": {"a": 1}}, "content that is no text"),
        ({"prompt": "Hi", "completion": [7]}, "content that is no text"),
        ({"prompt": "Hi", "completion": {"role": "critic", "content": "x"}}, "unknown role critic"),
        ({"messages": HI + HO, "system": HI}, "turns in system that are not one of the system"),
        (
            {"messages": HI + HO, "system": 2 * [{"role": "system", "content": "Be."}]},
            "turns in sy",
        ),
        ({"messages": HI + HO, "system": {"a": "Be."}}, "content that is no text"),
    ],
)
def test_what_a_column_holds_is_left_out_alike_from_json_and_tables(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    assert reason_of(row).startswith(reason)
    _, encoded = packed([row, {"prompt": "Hi", "completion": "Ho"}], templates.CHATML, tmp_path)
    assert encoded["left_out"][0].startswith(reason)
    assert encoded["left_out"][1] == ""


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"text": "abc", "id": 5}, '{"text": "abc", "id": 5}'),
        ([{"text": "a", "score": 1}, {"text": "b", "score": 2}], None),
        (["Paris", "London"], None),
        ([], "[]"),
        ({}, "{}"),
        ({"type": "sunny", "temp": 3}, None),
        ([{"type": "text"}, 3], None),
        ({"sum": None}, '{"sum": null}'),
        (True, "true"),
        (12.0, "12"),
        ("", ""),
        ("[1, 2]", "[1, 2]"),
        ({"type": "text", "text": "abc"}, "abc"),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"),
        ('[{"type": "text", "text": "a"}]', '[{"type": "text", "text": "a"}]'),
    ],
)
def test_a_tool_may_answer_with_any_json(content: Any, text: str | None) -> None:
    (turn,) = turns_of([{"role": "tool", "content": content}], "messages")
    assert turn["content"] == (json.dumps(content) if text is None else text)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ({"name": "f", "parameters": {"a": 1}}, {"a": 1}),
        ({"name": "f", "input": {"a": 1}}, {"a": 1}),
        ({"name": "f", "input": '{"a": 1}'}, {"a": 1}),
        ({"function": {"name": "f", "parameters": {"a": 1}}}, {"a": 1}),
        ({"function": '{"name": "f", "arguments": {"a": 1}}'}, {"a": 1}),
        ({"name": "f", "arguments": {"a": 1}, "input": {"b": 2}}, {"a": 1}),
        ({"name": "f", "arguments": None, "parameters": {"a": 1}}, {"a": 1}),
        ({"name": "f", "arguments": {"a": None}}, {"a": None}),
        ({"name": "f", "arguments": '{"a": null}'}, {"a": None}),
        ({"id": None, "name": "f", "arguments": ""}, {}),
        ({"name": "f"}, {}),
    ],
)
def test_arguments_of_a_call_by_all_their_names(call: dict[str, Any], arguments: Any) -> None:
    for turn in (
        {"role": "assistant", "tool_calls": [call]},
        {"from": "function_call", "value": json.dumps(call)},
    ):
        (read,) = turns_of([turn], "messages")
        function = {"name": "f", "arguments": arguments}
        assert read["tool_calls"] == [{"type": "function", "function": function}]


def test_nulls_are_the_authors_in_json_and_the_tables_in_a_table(tmp_path: Path) -> None:
    """In calls, in tools, and in what tools answer."""
    call = {"name": "f", "arguments": {"a": None, "b": 2}}
    tool = {"name": "f", "parameters": {"default": None, "type": "object"}}
    said = [*HI, {"role": "assistant", "tool_calls": [call]}]
    answer = {"role": "tool", "content": {"c": None, "d": 4}}
    rows = [{"messages": [*said, answer, *HO], "tools": [tool]}]
    _, written = packed(rows, TOOLS, tmp_path / "json")
    tokenizer = templates.tokenizer("<|im_end|>", TOOLS)
    flat = [{"messages": [*said, *HO], "tools": [tool]}]
    table = encode_chats(Dataset.from_list(flat), tokenizer, 2000, tmp_path / "table")
    for text in ("'a': None", '"default": null', '"c": null'):
        assert text in tokenizer.decode(written["ids"][0])
    assert "None" not in tokenizer.decode(table["ids"][0])
    assert "null" not in tokenizer.decode(table["ids"][0])
    assert "'b': 2" in tokenizer.decode(table["ids"][0])


def test_rows_of_csv_are_read_as_they_stand(tmp_path: Path) -> None:
    lines = [
        "prompt,completion,system,tools",
        "Hi,007,,",
        "Hi,NA,Be.,null",
        "3.10,1e5,,[]",
        "Hi,,,",
    ]
    lines.append('"[{""role"": ""user"", ""content"": ""Hi""}]",Ho')
    (tmp_path / "chats.csv").write_text("\n".join(lines))
    chats = load_split(tmp_path, None, "train", [], "dataset_name", as_written=True)
    layout = layout_of(chats.column_names)
    read = [shown(layout.chat(chats[place])) for place in (0, 1, 2, 4)]
    assert read == [
        "user: Hi · **assistant: 007**",
        "system: Be. · user: Hi · **assistant: NA**",
        "user: 3.10 · **assistant: 1e5**",
        ONE,
    ]
    assert reason_of(chats[3]) == "empty turn"

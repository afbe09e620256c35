"""Rows of chats, pairs and problems that hold evaluation items: which are found, and where."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from moxin_recipes.documents.contaminated import Contaminated, search
from moxin_recipes.documents.contamination import Item, write_index
from moxin_recipes.hub.splits import load_split

QUESTION = (
    "A farmer has seventeen sheep and sells all but nine of them at the market in the next "
    "village before noon; how many sheep walk home with him that evening?"
)
SOLUTION = "He keeps nine of them, because all but nine were sold, so nine sheep walk home with him"
WORDS = QUESTION.split()
HALF = " so ".join([" ".join(WORDS[:9]), " ".join(WORDS[9:19])])  # two thirds, in 8-grams
THIRTEEN = " ".join(WORDS[2:16])
CHOICE = "Which of these rocks was made by the cooling of lava above the ground?"
ENDINGS = "granite marble basalt slate quartz"
CHINESE = "小明有四十八个苹果，他给了小红一半，请问他还剩下多少个苹果？"
SHORT_CHINESE = "法国首都是？"
OFFICE = "How many officers find the first flat of an office on the fifth floor of it?"
PLANTED = [
    Item("quiz", "main/test/0", [QUESTION, SOLUTION]),
    Item("quiz", "main/test/1", ["What is the capital of France?", "Paris"]),
    Item("quiz", "main/test/2", ["Why so?", "because"]),  # too short to look for
    Item("sums", "test/0", ["Work out 7+5-3+2-4.", "7"], ("whole",)),
    Item("sums", "test/1", ["Où est née la reine Élodie d'Orléans?", "à Paris"]),
    Item("rocks", "test/0", [CHOICE, ENDINGS]),
    Item("signs", "test/0", [CHINESE]),
    Item("signs", "test/1", [SHORT_CHINESE]),
    Item("signs", "test/2", [OFFICE]),
]
Messages = list[dict[str, Any]]


def chat(*texts: Any, first: str = "user") -> Messages:
    roles = ["user", "assistant"] if first == "user" else ["system", "user", "assistant"]
    return [{"role": roles[i % len(roles)], "content": text} for i, text in enumerate(texts)]


def found(folder: Path, *rows: dict[str, Any]) -> Contaminated:
    return search(Dataset.from_list(list(rows)), "some/rows", PLANTED, folder)


def reasons(folder: Path, *rows: dict[str, Any]) -> list[str]:
    return found(folder, *rows).reasons


# What the user says → the reason.
SAID = {
    QUESTION: "contaminated: quiz (13-gram)",
    f"Please help. {QUESTION} Think first.": "contaminated: quiz (13-gram)",
    QUESTION.upper(): "contaminated: quiz (13-gram)",
    QUESTION.replace(" ", "\n  "): "contaminated: quiz (13-gram)",
    QUESTION.replace(" ", "\u00a0"): "contaminated: quiz (13-gram)",
    "**" + QUESTION.replace(";", " –") + "**": "contaminated: quiz (13-gram)",
    THIRTEEN: "contaminated: quiz (13-gram)",
    HALF: "contaminated: quiz (8-gram)",
    "Tell me, what is the CAPITAL of France, please": "contaminated: quiz (whole)",
    "Work out 7 + 5 − 3 + 2 − 4": "contaminated: sums (whole)",
    "Où est née la reine Élodie d’Orléans ?": "contaminated: sums (8-gram)",
    "Où est née la reine Élodie d'Orléans?": "contaminated: sums (8-gram)",
    unicodedata.normalize("NFD", "Où est née la reine Élodie d'Orléans?"): (
        "contaminated: sums (8-gram)"
    ),
    CHOICE.lower(): "contaminated: rocks (13-gram)",
    QUESTION.replace(" ", "_"): "contaminated: quiz (13-gram)",
    QUESTION.replace("f", "\uff46").replace("S", "\uff33"): "contaminated: quiz (13-gram)",
    OFFICE.replace("fi", "\ufb01").replace("fl", "\ufb02"): "contaminated: signs (13-gram)",
    OFFICE.replace("ffi", "\ufb03").upper(): "contaminated: signs (13-gram)",
    CHINESE: "contaminated: signs (13-gram)",
    f"请回答：{CHINESE}谢谢！".replace("，", " "): "contaminated: signs (13-gram)",
    SHORT_CHINESE: "contaminated: signs (whole)",
    f"Question: {SHORT_CHINESE}": "contaminated: signs (whole)",
    f"Read:\n```json\n{json.dumps({'q': QUESTION.replace(' ', chr(10))})}\n```\nDone.": (
        "contaminated: quiz (13-gram)"
    ),
    f"1. Read:\n   ~~~\n   {json.dumps([QUESTION.replace(' ', chr(9))])}\n   ~~~": (
        "contaminated: quiz (13-gram)"
    ),
    # Near misses.
    CHINESE[:12]: "",
    "小明有四个苹果": "",
    "```json\n{\n```": "",
    " ".join(WORDS[4:14]): "",  # ten words of thirty
    "A man owned sheep; all but nine were sold. How many has he?": "",
    "What is the capital city of France?": "",
    "Why so?": "",
    "Work out 7-5+3-2+4": "",
    "Work out 7+5-3+2": "",
    "Which of these rocks is the oldest that can be found above the ground?": "",
}


@pytest.mark.parametrize("kind", ["user", "assistant", "system", "later", "problem", "prompt"])
def test_it_does_not_matter_where_an_item_stands(tmp_path: Path, kind: str) -> None:
    def row(text: str) -> dict[str, Any]:
        return {
            "user": {"messages": chat(text, "Nine.")},
            "assistant": {"messages": chat("Tell me a riddle.", text)},
            "system": {"messages": chat(text, "Go on.", "Nine.", first="system")},
            "later": {"messages": chat("Hello.", "Hello!", text, "Nine.")},
            "problem": {"problem": text, "answer": "9", "source": "a book"},
            "prompt": {"prompt": chat(text), "chosen": chat("Nine."), "rejected": chat("Eight.")},
        }[kind]

    assert reasons(tmp_path, *map(row, SAID)) == list(SAID.values())


def test_pairs_are_searched_whole_whatever_their_layout(tmp_path: Path) -> None:
    fine = chat("Tell me a riddle.", "No.")
    rows = [
        {"prompt": "Tell", "chosen": fine, "rejected": chat("Tell me a riddle.", QUESTION)},
        {"prompt": "Tell", "chosen": chat("Tell me a riddle.", SOLUTION), "rejected": fine},
        {"prompt": "Tell", "chosen": chat(QUESTION, "9"), "rejected": chat(QUESTION, "8")},
        {"prompt": "Tell", "chosen": fine, "rejected": fine},
    ]
    assert [bool(reason) for reason in reasons(tmp_path, *rows)] == [True, True, True, False]


def test_question_and_answers_count_together_though_two_speak(tmp_path: Path) -> None:
    half = " ".join(
        CHOICE.split()[4:]
    )  # 10 of 14 words, and the next turn goes on with the answers
    result = found(tmp_path, {"messages": chat(f"Rocks. {half}", ENDINGS)})
    assert {row["set"] for row in result.matches} == {"rocks"}


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "9"}]},
        {"messages": json.dumps(chat(QUESTION, "9"))},
        {"messages": json.dumps(chat('"Où"\n' + QUESTION.replace(" ", "\n"), "\ud800"))},
        {"messages": chat([{"type": "text", "text": QUESTION}], [{"type": "text", "text": "9"}])},
        {"messages": chat("Ask me.", "Yes."), "system": QUESTION},
        {"messages": json.dumps([{"tool_calls": [{"arguments": json.dumps({"q": QUESTION})}]}])},
        {"problem": "What is asked?", "answer": QUESTION},
        {"problem": QUESTION, "answer": 9},
        {"texts": QUESTION, "rules": "none", "n": 1.5},
        {"prompt": None, "chosen": [], "rejected": chat(QUESTION)},
        {"problem": f"{{ {QUESTION}", "answer": "[1, 2]"},
        {"type": QUESTION, "n": 1},
        {"from": QUESTION, "role": "x"},
        {"from": {"text": QUESTION}, "type": [QUESTION]},
        {"messages": json.dumps(chat(f"```\n{json.dumps([QUESTION.replace(' ', chr(10))])}\n```"))},
    ],
)
def test_any_layout_of_a_row_is_read(tmp_path: Path, row: dict[str, Any]) -> None:
    assert reasons(tmp_path, row) == ["contaminated: quiz (13-gram)"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": None, "n": 1},
        {"messages": [], "text": ""},
        {"messages": chat("", "")},
        {"problem": "{", "answer": None},
        {"problem": "[" * 100_000},
    ],
)
def test_a_row_without_words_holds_nothing(tmp_path: Path, row: dict[str, Any]) -> None:
    assert reasons(tmp_path, row) == [""]


def test_rows_of_files_are_searched_whatever_their_kinds(tmp_path: Path) -> None:
    lines = [{"problem": QUESTION, "answer": 9}, {"problem": 3, "type": [{"q": QUESTION}, None]}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"problem": "2+2?"}])))
    rows = load_split(tmp_path, None, "train", ["problem"], "dataset_name", as_written=True)
    found = search(rows, "some/rows", PLANTED, tmp_path / "found").reasons
    assert found == [*["contaminated: quiz (13-gram)"] * 2, ""]


def test_every_item_of_a_row_is_listed_and_each_set_is_counted(tmp_path: Path) -> None:
    both = f"{QUESTION} And: what is the capital of France?"
    texts = ["Hello.", both, "Work out 7+5-3+2-4", QUESTION, "Work out 7+5-3+2-4 again"]
    result = found(tmp_path, *({"messages": chat(text, "Nine.")} for text in texts))
    assert result.listed("chat").to_list() == [
        {"chat": 1, "set": "quiz", "item": "main/test/0", "rule": "13-gram"},
        {"chat": 1, "set": "quiz", "item": "main/test/0", "rule": "8-gram"},
        {"chat": 1, "set": "quiz", "item": "main/test/1", "rule": "whole"},
        {"chat": 2, "set": "sums", "item": "test/0", "rule": "whole"},
        {"chat": 3, "set": "quiz", "item": "main/test/0", "rule": "13-gram"},
        {"chat": 3, "set": "quiz", "item": "main/test/0", "rule": "8-gram"},
        {"chat": 4, "set": "sums", "item": "test/0", "rule": "whole"},
    ]
    assert result.line("chat") == (
        "`decontaminate`: 4 of 5 chats hold items of evaluation sets and are left out: quiz 2, "
        "sums 2"
    )
    counts = [
        (row["source"], row["set"], row["documents"], row["found_items"], row["items"])
        for row in result.report
    ]
    assert counts == [
        ("some/rows", "quiz", 2, 2, 3),
        ("some/rows", "sums", 2, 1, 2),
        ("some/rows", "rocks", 0, 0, 1),
        ("some/rows", "signs", 0, 0, 3),
    ]
    assert [row["too_short"] for row in result.report] == [1, 0, 0, 0]


def test_nothing_found_is_said_and_listed_too(tmp_path: Path) -> None:
    result = found(tmp_path, {"problem": "12+13", "answer": "25"})
    assert result.line("problem") == (
        "`decontaminate`: 0 of 1 problems hold items of evaluation sets and are left out"
    )
    assert result.listed("problem").column_names == ["problem", "set", "item", "rule"]
    assert len(result.listed("problem")) == 0


def test_two_processes_and_a_second_start_find_the_same(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"messages": chat(text, "Nine.")} for text in SAID])
    write_index(PLANTED, tmp_path / "index")
    none: list[Item] = []  # the index is there, so none is asked for
    first = search(rows, "some/rows", none, tmp_path, processes=2)
    assert first.reasons == list(SAID.values())
    (tmp_path / "index" / "index.npz").unlink()  # what was found is not searched for again
    assert search(rows, "some/rows", none, tmp_path) == first


def test_rows_of_json_files_are_searched_as_they_stand(tmp_path: Path) -> None:
    """Also those with a half of a sign, which are left out later."""
    said = [QUESTION, f"{QUESTION} \ud83d", "so \ud83d", 12, None]
    rows = [{"messages": chat(text), "n": 1} for text in said]
    rows += [{"prompt": f"{QUESTION}\ud83d", "n": "x"}, {"prompt": json.dumps(chat(QUESTION))}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read = load_split(tmp_path, None, "train", [], "dataset_name", as_written=True)
    reason = "contaminated: quiz (13-gram)"
    made = search(read, "some/rows", PLANTED, tmp_path / "found")
    assert made.reasons == [reason, reason, "", "", "", reason, reason]

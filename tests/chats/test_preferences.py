"""Pairs as people write them: the table of docs/own-data.md, and what is left out of it."""

import json
import math
import re
from typing import Any

import pytest
from tests.conftest import ROOT

from moxin_recipes.chats.preferences import Preferences
from moxin_recipes.chats.rendering import Unusable

PROMPT, YES, NO = (
    [{"role": "user", "content": "2+2?"}],
    [{"role": "assistant", "content": "4"}],
    [{"role": "assistant", "content": "5"}],
)
READ = {"prompt": PROMPT, "chosen": YES, "rejected": NO}
SYSTEM = {"role": "system", "content": "Be brief."}
_ROW = re.compile(r"\| [^|]+ \| `(\{\"(?:prompt|chosen|system).*\})` \|")


def test_every_row_of_the_page_is_the_same_pair() -> None:
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    rows = [json.loads(row) for row in _ROW.findall(page)]
    assert len(rows) == 9
    for row in rows:
        pair = Preferences().pair(row)
        system = [{"role": "system", "content": row["system"]}] if "system" in row else []
        assert pair == {**READ, "prompt": system + PROMPT}, row


NONE = (None, math.nan, "", " ", "null", "[]", "{}", [], {})
SPACED = [{"role": "user", "content": "2+2? "}]
H, A = "\n\nHuman: ", "\n\nAssistant:"


def turned(row: dict[str, str]) -> dict[str, Any]:
    """A row of texts as turns that say just these."""
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return {name: [{"role": roles[name], "content": text}] for name, text in row.items()}


def repeated(asked: str, *answers: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A row whose answers begin with the prompt, and what it is read as."""
    names = ("prompt", "chosen", "rejected")
    row = dict(zip(names, (asked, *(asked + text for text in answers)), strict=True))
    plain = dict(zip(names, (asked, *(text.strip() for text in answers)), strict=True))
    return row, turned(plain)


MORE = [{"role": "user", "content": "sure?"}, {"role": "assistant", "content": "yes"}]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # They part at the first answer; what follows a later turn of the user is not compared.
        ({"chosen": PROMPT + YES + MORE, "rejected": PROMPT + NO + MORE}, READ),
        ({"chosen": PROMPT + YES + MORE, "rejected": PROMPT + NO}, READ),
        # They part later: what both have is the prompt.
        (
            {"chosen": [*PROMPT, *NO, *PROMPT, *YES], "rejected": [*PROMPT, *NO, *PROMPT, *NO]},
            {**READ, "prompt": [*PROMPT, *NO, *PROMPT]},
        ),
        # The answers go on after the prompt.
        ({"prompt": PROMPT, "chosen": YES + MORE, "rejected": NO + MORE}, READ),
        # The prompt stands before the answers as well, as turns and as a text.
        ({"prompt": PROMPT, "chosen": PROMPT + YES, "rejected": PROMPT + NO}, READ),
        ({"prompt": "2+2?", "chosen": PROMPT + YES, "rejected": PROMPT + NO}, READ),
        (
            {
                "prompt": " 2+2?\n",
                "chosen": PROMPT + NO + MORE[:1] + YES,
                "rejected": PROMPT + NO + MORE[:1] + NO,
            },
            {**READ, "prompt": PROMPT + NO + MORE[:1]},
        ),
        (
            {
                "prompt": PROMPT,
                "chosen": [SYSTEM, *PROMPT, *YES],
                "rejected": [SYSTEM, *PROMPT, *NO],
            },
            {**READ, "prompt": [SYSTEM, *PROMPT]},
        ),
        ({**READ, "system": ["Be", " brief."]}, {**READ, "prompt": [SYSTEM, *PROMPT]}),
        (
            {**READ, "system": " ", "prompt": [SYSTEM, *PROMPT]},
            {**READ, "prompt": [SYSTEM, *PROMPT]},
        ),
        # Further columns do not matter, whatever they are called.
        ({**READ, "margin": 1.0, "images": None, "completion": "x", "label": True}, READ),
        ({"chosen": [*PROMPT, {**YES[0], "weight": 1}], "rejected": PROMPT + NO}, READ),
        ({"prompt": PROMPT, "chosen": json.dumps(YES), "rejected": json.dumps(NO)}, READ),
        ({"prompt": PROMPT, "chosen": YES[0], "rejected": NO[0]}, READ),
        ({"prompt": "2+2?", "chosen": "2+2? 4", "rejected": "2+2? 5"}, READ),
        (
            {"prompt": "2+2? ", "chosen": "2+2? \n4", "rejected": "2+2? 5"},
            {**READ, "prompt": SPACED},
        ),
        repeated("Two and two is of course", " 4", "\n5"),
        repeated("Q: 2+2\nA:", "\n4", " 5"),
        (
            {"prompt": H + "2+2?" + A, "chosen": f"{H}2+2?{A} 4", "rejected": f"{H}2+2?{A} 5"},
            READ,
        ),
        # They begin with the same words or letters, and repeat nothing.
        *(
            (row := {"prompt": asked, "chosen": yes, "rejected": no}, turned(row))
            for asked, yes, no in (
                ("Hi", "Hi there! How can I help?", "Hi, what do you want?"),
                ("Hi", "Hi there", "Hi you"),
                (
                    "Good morning to you!",
                    "Good morning to you! How are you?",
                    "Good morning to you! No",
                ),
                ("1", "12", "13"),
                ("2+2?", "2+2?4", "2+2?5"),
                ("2+2?", "2+2? 4", "5"),
                ("2+2?", "2+2? 4", "2+2?"),
                ("Paris", "Paris is big", "Paris is small"),
            )
        ),
        # A column may hold one turn, or its text; a list may hold one text.
        ({"prompt": PROMPT[0], "chosen": YES[0], "rejected": NO[0]}, READ),
        ({"prompt": json.dumps(PROMPT[0]), "chosen": json.dumps(YES[0]), "rejected": "5"}, READ),
        ({"prompt": ["2+2?"], "chosen": ["4"], "rejected": ["5"]}, READ),
        ({"prompt": {"from": "human", "text": "2+2?"}, "chosen": 4, "rejected": 5.0}, READ),
        (
            {"prompt": "2+2?", "chosen": "[]", "rejected": "null"},
            turned({"prompt": "2+2?", "chosen": "[]", "rejected": "null"}),
        ),
        # What only looks like a dialogue.
        *(
            (row := {"prompt": asked, "chosen": yes, "rejected": "5"}, turned(row))
            for asked, yes in (
                ("Assistant: what does it mean?", "4"),
                ("2+2?", "Assistant: 4"),
                ("2+2?", "Human: 4"),
            )
        ),
        ({"prompt": "2+2?", "chosen": "Assistant: 4", "rejected": "\n\nAssistant: 5"}, READ),
        ({"prompt": "Human: 2+2?", "chosen": "4", "rejected": "5"}, READ),
        # Ids and names of turns are not compared.
        (
            {
                "chosen": [{**PROMPT[0], "id": 1, "name": "Al"}, {**YES[0], "id": 2}],
                "rejected": [{**PROMPT[0], "id": 3}, {**NO[0], "date": "today"}],
            },
            READ,
        ),
        *(({**READ, "tools": none, "functions": none}, READ) for none in NONE),
        *(({**READ, "system": none}, READ) for none in (None, math.nan, " ", [], {})),
        *(
            ({**READ, "system": system}, {**READ, "prompt": [SYSTEM, *PROMPT]})
            for system in (
                SYSTEM,
                [SYSTEM],
                json.dumps(SYSTEM),
                [{"type": "text", "text": "Be brief."}],
            )
        ),
        ({"prompt": "\n\nHuman: 2+2?\n\nAssistant:", "chosen": "4", "rejected": "5"}, READ),
        (
            {"prompt": '["2+2?"]', "chosen": "4", "rejected": "5"},
            {**READ, "prompt": [{"role": "user", "content": '["2+2?"]'}]},
        ),
    ],
)
def test_what_is_read(row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Preferences().pair(row) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": PROMPT + YES, "rejected": PROMPT + YES}, "equal answers"),
        ({"prompt": PROMPT, "chosen": YES, "rejected": YES}, "equal answers"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "4"}, "equal answers"),
        ({"chosen": PROMPT + YES, "rejected": MORE[:1] + NO}, "no shared prompt"),
        ({"chosen": YES, "rejected": NO}, "no shared prompt"),
        ({"prompt": "", "chosen": "4", "rejected": "5"}, "no shared prompt"),
        ({"prompt": None, "chosen": "4", "rejected": "5"}, "no shared prompt"),
        ({"prompt": PROMPT, "chosen": None, "rejected": NO}, "no answer"),
        ({"prompt": PROMPT, "chosen": [], "rejected": NO}, "no answer"),
        ({"prompt": PROMPT, "chosen": "", "rejected": "5"}, "no answer"),
        ({"prompt": PROMPT, "chosen": math.nan, "rejected": "5"}, "no answer"),
        ({"prompt": PROMPT, "chosen": "4", "rejected": {}}, "no answer"),
        ({"prompt": math.nan, "chosen": "4", "rejected": "5"}, "no shared prompt"),
        ({"prompt": " ", "chosen": "4", "rejected": "5"}, "no shared prompt"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": ["5", "6"]}, "several texts in rejected"),
        ({"prompt": ["2+2?", "1+1?"], "chosen": "4", "rejected": "5"}, "several texts in prompt"),
        ({"prompt": "2+2?", "chosen": True, "rejected": False}, "content that is a bool"),
        (
            {"prompt": f"{H}2+2?{A} It is", "chosen": "4", "rejected": "5"},
            "the prompt ends with the assistant",
        ),
        ({**READ, "system": [SYSTEM, SYSTEM]}, "turns in system that are not one of the system"),
        ({"chosen": PROMPT, "rejected": PROMPT + NO}, "no answer"),
        (
            {"prompt": PROMPT, "chosen": YES, "rejected": [{"role": "assistant", "content": None}]},
            "empty turn",
        ),
        (
            {"chosen": PROMPT + YES + MORE[:1], "rejected": PROMPT + YES + PROMPT},
            "its chats part before an answer",
        ),
        (
            {"prompt": MORE[:1], "chosen": PROMPT + YES, "rejected": PROMPT + NO},
            "its chats do not repeat the prompt",
        ),
        (
            {"prompt": "3+3?", "chosen": PROMPT + YES, "rejected": PROMPT + NO},
            "its chats do not repeat the prompt",
        ),
        (
            {"prompt": PROMPT + NO, "chosen": YES, "rejected": NO},
            "the prompt ends with the assistant",
        ),
        (
            {**READ, "prompt": [SYSTEM, *PROMPT], "system": "Be long."},
            "a system turn beside another text in system",
        ),
        ({**READ, "system": [3]}, "content that is no text"),
        (
            {**READ, "chosen": [{**NO[0], "thinking": "so"}]},
            "a thought beside an answer, which is not read in pairs",
        ),
        ({**READ, "chosen": "a\ud800"}, "a half of a sign in a text"),
        ({**READ, "functions": [{"name": "f"}]}, "tools, which are not read in pairs"),
        ({**READ, "tools": [{"name": "f"}]}, "tools, which are not read in pairs"),
        (
            {"prompt": PROMPT, "chosen": [{"role": "narrator", "content": "x"}], "rejected": NO},
            "unknown role narrator",
        ),
    ],
)
def test_what_is_left_out(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as raised:
        Preferences().pair(row)
    assert str(raised.value) == reason


def test_the_recipe_names_columns_and_says_what_stands_around_a_prompt() -> None:
    row = {"question": "2+2?", "better": "4", "worse": "5", "chosen": None}
    around = Preferences("question", "better", "worse", "Be brief.", " Think.")
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2? Think."},
    ]
    assert around.pair(row) == {**READ, "prompt": prompt}
    assert around.pair({**row, "question": "2+2? Think.", "system": "Mine."})["prompt"] == [
        {"role": "system", "content": "Mine."},
        prompt[1],
    ]

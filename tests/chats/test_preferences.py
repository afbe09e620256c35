"""Pairs as people write them: the table of docs/own-data.md, and what is left out of it."""

import json
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
    assert len(rows) >= 6
    for row in rows:
        pair = Preferences().pair(row)
        system = [{"role": "system", "content": row["system"]}] if "system" in row else []
        assert pair == {**READ, "prompt": system + PROMPT}, row


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

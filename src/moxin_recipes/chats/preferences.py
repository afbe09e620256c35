"""One row of a preference dataset → a prompt and two answers, in whatever layout it came.

- `prompt`, `chosen` and `rejected` as turns or as plain texts, the answers alone or after the
  prompt, which is not read twice;
- whole chats in `chosen` and `rejected`: the prompt is the beginning that both share, and a text in
  `prompt` only repeats its last turn;
- one text each, with `Human:` and `Assistant:` before what they say.

Only the first answers that differ are compared: what follows a later turn of the user is cut.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moxin_recipes.chats.cells import no_json, nothing, whole
from moxin_recipes.chats.layouts import system_of
from moxin_recipes.chats.rendering import Messages, Unusable
from moxin_recipes.chats.turns import turns_of

EQUAL, NO_PROMPT = "equal answers", "no shared prompt"
_SPOKEN = re.compile(r"(?:^|\n\n)\s*(Human|Assistant): ?")
_HUMAN, _NEVER = re.compile(r"\s*Human:"), re.compile("(?!)")
_SENTENCE = 5  # words of a prompt with which no answer begins by itself
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Preferences:
    """The columns of a dataset of pairs, and what the recipe puts around each prompt."""

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    system: str | None = None  # before prompts without a system turn
    suffix: str = ""  # after the prompt's last turn, which is the user's; not twice

    def pair(self, row: Mapping[str, Any]) -> dict[str, Messages]:
        """Returns `prompt`, `chosen` and `rejected` of a row. Raises Unusable with the reason."""
        if not (no_json(row.get("tools")) and no_json(row.get("functions"))):
            raise Unusable("tools, which are not read in pairs")
        asked = row.get(self.prompt)
        answers = [row[self.chosen], row[self.rejected]]
        if isinstance(asked, str) and all(_repeats(asked, answer) for answer in answers):
            answers = [answer[len(asked) :].lstrip() for answer in answers]
        begins = _SPOKEN if all(_begins(_SPOKEN, answer) for answer in answers) else _NEVER
        chosen, rejected = (
            _answer(answer, name, begins)
            for answer, name in zip(answers, (self.chosen, self.rejected), strict=True)
        )
        prompt = [] if nothing(asked) else _said(asked, self.prompt, "user", _HUMAN)
        if chosen[0]["role"] != "assistant":  # whole chats
            shared = _shared(chosen, rejected)
            if not _holds(chosen[:shared], prompt):
                raise Unusable("its chats do not repeat the prompt")
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not prompt:
            raise Unusable(NO_PROMPT)
        prompt = self._whole(prompt, row)
        parts = {"prompt": prompt, "chosen": _first(chosen), "rejected": _first(rejected)}
        pair = {name: [_plain(turn) for turn in turns] for name, turns in parts.items()}
        if pair["chosen"] == pair["rejected"]:
            raise Unusable(EQUAL)
        if not all(whole(turn["content"]) for turns in pair.values() for turn in turns):
            raise Unusable("a half of a sign in a text")
        return pair

    def _whole(self, prompt: Messages, row: Mapping[str, Any]) -> Messages:
        """The prompt with its system turn and the suffix."""
        said = system_of(row, prompt, self.system)
        if said:
            prompt = [{"role": "system", "content": said}, *prompt]
        last = prompt[-1]
        if last["role"] == "assistant":
            raise Unusable("the prompt ends with the assistant")
        if last["role"] == "user" and not last["content"].endswith(self.suffix):
            prompt = [*prompt[:-1], {**last, "content": last["content"] + self.suffix}]
        return prompt


def _repeats(prompt: str, answer: Any) -> bool:
    """Whether an answer surely begins with the prompt, and not only with the same words.

    White space parts the two, and the prompt is a question, opens an answer, or is a sentence.
    """
    asked = prompt.rstrip()
    if not (asked.endswith(("?", ":")) or len(asked.split()) >= _SENTENCE):
        return False
    if not isinstance(answer, str) or not answer.startswith(prompt):
        return False
    follows = answer[len(asked) :]
    return follows.strip() != "" and follows[0].isspace()


def _begins(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.match(value) is not None


def _answer(value: Any, where: str, dialogue: re.Pattern[str]) -> Messages:
    """The turns of `chosen` or `rejected`: a plain text is an answer, or a dialogue."""
    if nothing(value):
        raise Unusable("no answer")
    return _said(value, where, "assistant", dialogue)


def _said(value: Any, where: str, role: str, dialogue: re.Pattern[str]) -> Messages:
    """Turns, a text of `role`, or the turns of a dialogue; an opened last turn is none."""
    if _begins(dialogue, value):
        parts = _SPOKEN.split(value)[1:]
        turns = [
            {"role": _ROLES[who], "content": said.strip()}
            for who, said in zip(parts[::2], parts[1::2], strict=True)
        ]
        value = turns[:-1] if len(turns) > 1 and not turns[-1]["content"] else turns
    return turns_of(value, where, role)


def _shared(chosen: Messages, rejected: Messages) -> int:
    """How many turns two chats share at their beginning, up to an answer that differs."""
    for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if _words(one) != _words(other):
            if not place:
                raise Unusable(NO_PROMPT)
            if {one["role"], other["role"]} != {"assistant"}:
                raise Unusable("its chats part before an answer")
            return place
    if len(chosen) == len(rejected):
        raise Unusable(EQUAL)
    raise Unusable("no answer")  # one chat is the beginning of the other


def _words(turn: Mapping[str, Any]) -> tuple[str, str]:
    """Who says what; ids, dates and names of a turn are not compared."""
    return turn["role"], turn["content"]


def _holds(turns: Messages, prompt: Messages) -> bool:
    """Whether the prompt is among turns, one after the other, whatever the white space around."""
    there, asked = (
        [(turn["role"], turn["content"].strip()) for turn in some] for some in (turns, prompt)
    )
    starts = range(len(there) - len(asked) + 1)
    return any(there[start : start + len(asked)] == asked for start in starts)


def _first(answer: Messages) -> Messages:
    """An answer up to the next turn of the user."""
    if not answer or answer[0]["role"] != "assistant":
        raise Unusable("no answer")
    end = next((i for i, turn in enumerate(answer) if turn["role"] == "user"), len(answer))
    return answer[:end]


def _plain(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn's role and text; raises Unusable where there is more to it."""
    if turn.get("tool_calls"):
        raise Unusable("a tool call, which is not read in pairs")
    if turn.get("reasoning_content") or turn.get("thinking"):
        raise Unusable("a thought beside an answer, which is not read in pairs")
    return {"role": turn["role"], "content": turn["content"]}

"""Reads chats as people write them: one row of a dataset becomes turns, tools and what is learned.

Whatever the layout, turns end as TRL and chat templates have them: `role` (system, user, assistant,
tool) and `content` (a text), maybe `tool_calls`; other fields stay as they are. What cannot be read
so is `Unusable`, with the reason; docs/chats.md lists the layouts and the reasons.
"""

import contextlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moxin_recipes.chats import calls
from moxin_recipes.chats.cells import no_json, nothing, whole
from moxin_recipes.chats.rendering import Messages, Unusable
from moxin_recipes.chats.turns import read, text_of_system, weighed
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

TURNS = ("messages", "conversations")
SPLIT = ("prompt", "completion")
SYSTEM = ("system", "system_prompt")
TOOLS = ("tools", "functions")
_FIELDS = ("name", "tool_call_id", "reasoning_content", "thinking")  # that templates know


@dataclass(frozen=True)
class Chat:
    """Turns, the tools they may use (JSON schemas), and the places of answers not to learn."""

    messages: Messages
    tools: list[dict[str, Any]] | None
    unlearned: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How the rows of one dataset are read."""

    turns: tuple[str, ...]  # columns of turns; a row's chat is in the first that is not empty
    columns: tuple[str, ...]  # all columns that are read
    others: tuple[str, ...]  # those that are not
    system_prompt: str | None = None  # for chats without a system turn
    suffix: str = ""  # after each turn of the user that an answer follows

    def __str__(self) -> str:
        """One line: what is read, and what is not."""
        first, *more = [f"`{name}`" for name in self.turns] or ["`prompt` and `completion`"]
        beside = [f"`{name}`" for name in self.columns if name not in (*self.turns, *SPLIT)]
        if self.turns and set(SPLIT) <= {*self.columns}:
            more.append("`prompt` and `completion`")
        text = f"chats are read from {first}"
        text += "".join(f", where it is empty from {name}" for name in more)
        text += f", with {' and '.join(beside)}" if beside else ""
        return f"{text}; not read: {', '.join(self.others)}" if self.others else text

    def chat(self, row: Mapping[str, Any]) -> Chat:
        """Returns the chat of a row. Raises Unusable, whose message is the reason."""
        turns, weights = self._turns(row)
        if not any(turn["role"] == "assistant" for turn in turns):
            raise Unusable("no answer")
        beside = {name: row[name] for name in SYSTEM if name in self.columns}
        system = system_of(beside, turns, self.system_prompt)
        if system:
            turns, weights = [{"role": "system", "content": system}, *turns], [1, *weights]
        for turn, after in itertools.pairwise(turns):
            asked = (turn["role"], after["role"]) == ("user", "assistant")
            if asked and not turn["content"].endswith(self.suffix):
                turn["content"] += self.suffix
        spoken = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
        unlearned = tuple(place for place in spoken if not weights[place])
        if len(unlearned) == len(spoken):
            raise Unusable("all answers have weight 0")
        name = next((n for n in TOOLS if n in self.columns and not no_json(row[n])), None)
        tools = calls.tools(row[name], name) if name else None
        for text in lost.texts([turns, tools]):
            if not whole(text):
                raise Unusable("a half of a sign in a text")
        return Chat(turns, tools, unlearned)

    def further(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Returns the fields of turns that nobody but a chat template may read."""
        known = {"role", "content", "tool_calls", *_FIELDS}
        found: dict[str, None] = {}
        for row in rows:
            with contextlib.suppress(Unusable):
                found |= dict.fromkeys(n for t in self.chat(row).messages for n in t)
        return [name for name in found if name not in known]

    def _turns(self, row: Mapping[str, Any]) -> tuple[Messages, list[int]]:
        for name in self.turns:
            if not no_json(row[name]):
                return weighed(read(row[name], name))
        if not any(name in self.columns and not nothing(row[name]) for name in SPLIT):
            raise Unusable("no turns")
        prompt, completion = (
            read(row[name], name, role)
            for name, role in zip(SPLIT, ("user", "assistant"), strict=True)
        )
        if prompt[-1]["role"] == "assistant":
            raise Unusable("the prompt ends with the assistant")
        prompt, weights = weighed(prompt)
        completion, more = weighed(completion)
        return [*prompt, *completion], [*(0 for _ in weights), *more]


def layout_of(
    columns: Sequence[str],
    messages_column: str | None = None,
    system_prompt: str | None = None,
    suffix: str = "",
) -> Layout:
    """Returns how rows with these columns are read.

    Raises RecipeError if there is no column of turns, nor `prompt` and `completion`.
    """
    has = ", ".join(columns)
    if messages_column and messages_column not in columns:
        raise RecipeError(
            f"`messages_column`: the dataset has no column `{messages_column}` (it has: {has})"
        )
    wanted = (messages_column,) if messages_column else TURNS
    turns = tuple(name for name in wanted if name in columns)
    split = SPLIT if not messages_column and set(SPLIT) <= {*columns} else ()
    if not turns and not split:
        raise RecipeError(
            f"`dataset_name`: the dataset has no column `messages` or `conversations` (it has: "
            f"{has}), nor both `prompt` and `completion`; `messages_column` names the turns"
        )
    beside = tuple(
        next((name for name in names if name in columns), "") for names in (SYSTEM, TOOLS)
    )
    read = tuple(name for name in (*turns, *split, *beside) if name)
    others = tuple(name for name in columns if name not in read)
    return Layout(turns, read, others, system_prompt, suffix)


def system_of(row: Mapping[str, Any], turns: Messages, default: str | None) -> str | None:
    """Returns what a row (`system`), or else the recipe, says before turns; None if a turn does.

    Raises Unusable where both say different things.
    """
    said = [turn["content"] for turn in turns if turn["role"] == "system"]
    name = next((name for name in SYSTEM if not nothing(row.get(name))), "")
    own = text_of_system(row[name], name) if name else ""
    if not own.strip():
        return None if said else default
    if said and said[0].strip() != own.strip():
        raise Unusable(f"a system turn beside another text in {name}")
    return None if said else own

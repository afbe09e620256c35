"""Reads chats as people write them: one row of a dataset becomes turns, tools and what is learned.

Whatever the layout, turns end as TRL and chat templates have them: `role` (system, user, assistant,
tool) and `content` (a text), maybe `tool_calls`; other fields stay as they are. What cannot be read
so is `Unusable`, with the reason; docs/chats.md lists the layouts and the reasons.
"""

import contextlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl import maybe_convert_to_chatml

from moxin_recipes.chats import calls
from moxin_recipes.chats.cells import parsed, whole
from moxin_recipes.chats.rendering import Messages, Unusable
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

TURNS = ("messages", "conversations")
SPLIT = ("prompt", "completion")
SYSTEM = ("system", "system_prompt")
TOOLS = ("tools", "functions")
ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"),
    "system": ("system", "developer"),
    "tool": ("tool", "function", "observation", "ipython", "environment", "tool_response"),
}
_CALLING = ("function_call", "tool_call")  # turns of the assistant whose text is a call
_ROLE = {name: role for role, names in ROLES.items() for name in names}
_TEXTS = ("text", "input_text", "output_text")  # types of parts
_WEIGHTS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_FIELDS = ("name", "tool_call_id", "reasoning_content", "thinking")  # that templates know
_SHOWN = 30  # characters of a row's own word in a reason


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
        read = {name: row[name] for name in SYSTEM if name in self.columns}
        system = system_of(read, turns, self.system_prompt)
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
        name = next((name for name in TOOLS if name in self.columns and row[name]), None)
        tools = calls.tools(row[name], name) if name else None
        for text in lost.texts([turns, tools]):
            if not whole(text):
                raise Unusable("a half of a sign in a text")
        return Chat(turns, tools, unlearned)

    def further(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Returns the fields of turns that nobody but a chat template may read."""
        read = {"role", "content", "tool_calls", *_FIELDS}
        found: dict[str, None] = {}
        for row in rows:
            with contextlib.suppress(Unusable):
                found |= dict.fromkeys(n for t in self.chat(row).messages for n in t)
        return [name for name in found if name not in read]

    def _turns(self, row: Mapping[str, Any]) -> tuple[Messages, list[int]]:
        for name in self.turns:
            if given := parsed(row[name]):
                return _weighed(_read(given, name))
        if not any(name in self.columns and row[name] for name in SPLIT):
            raise Unusable("no turns")
        prompt, completion = (
            _read(row[name], name, role)
            for name, role in zip(SPLIT, ("user", "assistant"), strict=True)
        )
        if prompt[-1]["role"] == "assistant":
            raise Unusable("the prompt ends with the assistant")
        prompt, weights = _weighed(prompt)
        completion, more = _weighed(completion)
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
    name = next((name for name in SYSTEM if row.get(name)), None)
    own = _text(_parts(row[name]), "system") if name else ""
    if not own.strip():
        return None if said else default
    if said and said[0].strip() != own.strip():
        raise Unusable(f"a system turn beside another text in {name}")
    return None if said else own


def turns_of(value: Any, where: str, role: str | None = None) -> Messages:
    """Returns the turns of a list in any layout; `where` is its column. Raises Unusable.

    With a `role`, a plain text is one turn of it.
    """
    turns, _ = _weighed(_read(value, where, role))
    return turns


def _read(value: Any, where: str, role: str | None = None) -> Messages:
    """The turns of a column, each with its `weight`; with a `role` it may be a plain text, too."""
    listed = parsed(value)
    if isinstance(listed, dict) and all(isinstance(item, list) for item in listed.values()):
        if len({len(column) for column in listed.values()}) > 1:
            raise Unusable(f"{where} is a table whose columns differ in length")
        columns = zip(*listed.values(), strict=True)  # a table of turns
        listed = [dict(zip(listed, turn, strict=True)) for turn in columns]
    if role and not _are_turns(listed):
        listed = [{"role": role, "content": _parts(value)}]
    if not isinstance(listed, list):
        kind = "a text that is not JSON" if isinstance(listed, str) else "no list of turns"
        raise Unusable("no turns" if listed is None else f"{where} is {kind}")
    turns = [_turn(turn, where) for turn in listed]
    kept = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    if not kept:
        raise Unusable("no turns")
    return kept


def _are_turns(value: Any) -> bool:
    said = {"content", "value", "tool_calls", "function_call"}
    return (
        isinstance(value, list)
        and value != []
        and all(
            isinstance(turn, dict) and {"role", "from"} & set(turn) and said & set(turn)
            for turn in map(parsed, value)
        )
    )


def _turn(given: Any, where: str) -> dict[str, Any]:
    """One turn: `role`, `content`, `weight`, maybe `tool_calls`, and the other fields it had."""
    given = parsed(given)
    if given is None or given == {}:
        raise Unusable("empty turn")
    if not isinstance(given, Mapping):
        raise Unusable(f"a turn in {where} is a text, without a role")
    filled = {name: item for name, item in given.items() if item is not None}
    turn: dict[str, Any] = maybe_convert_to_chatml({"messages": [filled]})["messages"][0]
    if "role" not in turn:
        has = ", ".join(map(str, given))[: 3 * _SHOWN]
        raise Unusable(f"a turn has neither role nor from (it has {has})" if turn else "empty turn")
    named = str(turn["role"]).strip().lower()
    calling = named in _CALLING
    role = "assistant" if calling else _ROLE.get(named)
    if role is None:
        raise Unusable(f"unknown role {lost.excerpt(str(turn['role']))[:_SHOWN]}")
    made = calls.made(turn.pop("tool_calls", None) or turn.pop("function_call", None))
    content = turn.get("content")
    if calling:
        made, content = calls.made(content), ""
    turn |= {"role": role, "content": _text(content, role), "weight": _weight(turn)}
    if made:
        turn["tool_calls"] = made
    thought = turn.get("reasoning_content") or turn.get("thinking")
    needs_words = role == "user" or (role == "assistant" and not made and not thought)
    if needs_words and not turn["content"].strip():
        raise Unusable("empty turn")
    return turn


def _weight(turn: Mapping[str, Any]) -> int:
    """0 or 1; a turn without one is learned."""
    weight = str(turn.get("weight", 1)).lower()
    if weight not in _WEIGHTS:
        raise Unusable(f"weight {lost.excerpt(weight)[:_SHOWN]}, which is neither 0 nor 1")
    return _WEIGHTS[weight]


def _weighed(turns: Messages) -> tuple[Messages, list[int]]:
    """The turns without their weights, and these."""
    weights = [turn["weight"] for turn in turns]
    plain = [{name: item for name, item in turn.items() if name != "weight"} for turn in turns]
    return plain, weights


def _text(content: Any, role: str) -> str:
    """What a turn says as one text: parts follow each other without anything between them."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, float) and not math.isfinite(content):
        return ""  # how tables write that there is nothing
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(int(content) if content == content // 1 else content)
    parts = [content] if isinstance(content, dict) else content
    typed = isinstance(parts, list) and all(map(_is_part, parts))
    if role == "tool" and not typed:  # what a program returned
        return json.dumps(content, ensure_ascii=False)
    if not isinstance(parts, list):
        raise Unusable(f"content that is a {type(content).__name__}")
    return "".join(map(_part, parts))


def _parts(value: Any) -> Any:
    """The parts that a JSON text holds: each has a field of the name of its type."""
    given = parsed(value)
    if not given or not isinstance(given, list) or not all(isinstance(p, dict) for p in given):
        return value
    kinds = [(part.get("type"), part) for part in given]
    typed = all((kind in _TEXTS and "text" in part) or kind in part for kind, part in kinds)
    return given if typed else value


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (
        isinstance(part, dict) and {"type", "text"} & set(part) != set()
    )


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not _is_part(part):
        raise Unusable("content that is no text")
    kind = part.get("type") or "text"
    if kind not in _TEXTS or not isinstance(part.get("text"), str):
        raise Unusable(f"content of type {lost.excerpt(str(kind))[:_SHOWN]}")
    return str(part["text"])

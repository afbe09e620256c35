"""Reads turns as people write them: each becomes `role`, `content`, maybe `tool_calls`.

Other fields of a turn stay as they are. What cannot be read so is `Unusable`, with the reason.
"""

import json
from collections.abc import Mapping
from typing import Any

from moxin_recipes.chats import calls
from moxin_recipes.chats.cells import nothing, parsed
from moxin_recipes.chats.rendering import Messages, Unusable
from moxin_recipes.recipe import lost

ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"),
    "system": ("system", "developer"),
    "tool": ("tool", "function", "observation", "ipython", "environment", "tool_response"),
}
_CALLING = ("function_call", "tool_call")  # turns of the assistant whose text is a call
_ROLE = {name: role for role, names in ROLES.items() for name in names}
_WHO, _SAID = ("role", "from"), ("content", "value", "text", "message")  # the first there is
_TEXTS = ("text", "input_text", "output_text")  # types of parts
_WEIGHTS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_SHOWN = 30  # characters of a row's own word in a reason


def turns_of(value: Any, where: str, role: str | None = None) -> Messages:
    """Returns the turns of a list in any layout; `where` is its column. Raises Unusable.

    With a `role`, a plain text is one turn of it.
    """
    turns, _ = weighed(read(value, where, role))
    return turns


def read(value: Any, where: str, role: str | None = None) -> Messages:
    """Returns the turns of a column, each with its `weight`, in any layout. Raises Unusable.

    With a `role` it may be one turn, or a text, too.
    """
    one = _one_turn(value) if role else None
    listed: Any = [one] if one else parsed(value)
    if isinstance(listed, dict) and all(isinstance(item, list) for item in listed.values()):
        if len({len(column) for column in listed.values()}) > 1:
            raise Unusable(f"{where} is a table whose columns differ in length")
        columns = zip(*listed.values(), strict=True)  # a table of turns
        listed = [dict(zip(listed, turn, strict=True)) for turn in columns]
    if role and not _are_turns(listed):
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if texts and len(value) > 1:
            raise Unusable(f"several texts in {where}")
        listed = [{"role": role, "content": value}]
    if not isinstance(listed, list):
        kind = "a text that is not JSON" if isinstance(listed, str) else "no list of turns"
        raise Unusable("no turns" if listed is None else f"{where} is {kind}")
    turns = [_turn(turn, where) for turn in listed]
    kept = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    if not kept:
        raise Unusable("no turns")
    return kept


def weighed(turns: Messages) -> tuple[Messages, list[int]]:
    """Returns the turns without their weights, and these."""
    weights = [turn["weight"] for turn in turns]
    plain = [{name: item for name, item in turn.items() if name != "weight"} for turn in turns]
    return plain, weights


def text_of_system(value: Any, where: str) -> str:
    """Returns what a cell says as a system prompt: a text, parts, or a turn. Raises Unusable."""
    turn = _one_turn(value)
    listed: Any = [turn] if turn else parsed(value)
    if not _are_turns(listed):
        return _text(value, "system")
    turns = [_turn(one, where) for one in listed]
    if len(turns) > 1 or turns[0]["role"] != "system":
        raise Unusable(f"turns in {where} that are not one of the system")
    said: str = turns[0]["content"]
    return said


def _one_turn(value: Any) -> dict[str, Any] | None:
    """The turn that a cell holds, or None; a text is one only if its role is known."""
    turn = parsed(value)
    if not isinstance(turn, dict) or not _are_turns([turn]):
        return None
    who = str(next((turn[name] for name in _WHO if turn.get(name) is not None), ""))
    return turn if turn is value or who.strip().lower() in (*_ROLE, *_CALLING) else None


def _are_turns(value: Any) -> bool:
    said = {*_SAID, "tool_calls", "function_call"}
    return (
        isinstance(value, list)
        and value != []
        and all(
            isinstance(turn, dict)
            and {*_WHO} & set(turn)
            and said & set(turn)
            and not any(isinstance(turn.get(name), list) for name in _WHO)
            for turn in map(parsed, value)
        )
    )


def _turn(given: Any, where: str) -> dict[str, Any]:
    """One turn: `role`, `content`, `weight`, maybe `tool_calls`, and the other fields it had."""
    given = parsed(given)
    if nothing(given):
        raise Unusable("empty turn")
    if not isinstance(given, Mapping):
        kind = "text" if isinstance(given, str) else type(given).__name__
        raise Unusable(f"a turn in {where} is a {kind}, without a role")
    turn = {name: item for name, item in given.items() if item is not None}
    who, said = (next((n for n in names if n in turn), "") for names in (_WHO, _SAID))
    said = next((name for name in _SAID if not nothing(turn.get(name))), said)
    if not who:
        raise Unusable(_without("role nor from", given) if turn else "empty turn")
    named = str(turn.pop(who))
    calling = named.strip().lower() in _CALLING
    role = "assistant" if calling else _ROLE.get(named.strip().lower())
    if role is None:
        raise Unusable(f"unknown role {lost.excerpt(named)[:_SHOWN]}")
    made = calls.made(turn.pop("tool_calls", None) or turn.pop("function_call", None))
    content = turn.pop(said, None)
    if calling:
        made, content = calls.made(content), ""
    turn |= {"role": role, "content": _text(content, role), "weight": _weight(turn)}
    if made:
        turn["tool_calls"] = made
    thought = turn.get("reasoning_content") or turn.get("thinking")
    needs_words = role == "user" or (role == "assistant" and not made and not thought)
    if needs_words and not turn["content"].strip():
        beside = {*given} - {*_WHO, *_SAID, "weight", "name", "id", "tool_calls", "function_call"}
        raise Unusable("empty turn" if said or not beside else _without("content nor value", given))
    return turn


def _without(fields: str, given: Mapping[str, Any]) -> str:
    return f"a turn has neither {fields} (it has {', '.join(map(str, given))[: 3 * _SHOWN]})"


def _weight(turn: Mapping[str, Any]) -> int:
    """0 or 1; a turn without one is learned."""
    weight = str(turn.get("weight", 1)).lower()
    if weight not in _WEIGHTS:
        raise Unusable(f"weight {lost.excerpt(weight)[:_SHOWN]}, which is neither 0 nor 1")
    return _WEIGHTS[weight]


def _text(content: Any, role: str) -> str:
    """What a turn says as one text: parts follow each other without anything between them."""
    if isinstance(content, str) and (role == "tool" or not _are_parts(parsed(content))):
        return content
    if nothing(content) and (role != "tool" or content is None):
        return ""
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(int(content) if content == content // 1 else content)
    parts = parsed(content)
    parts = [parts] if isinstance(parts, dict) else parts
    if role == "tool" and not _are_parts(parts):  # what a program returned
        return json.dumps(content, ensure_ascii=False)
    if not isinstance(parts, list):
        raise Unusable(f"content that is a {type(content).__name__}")
    return "".join(map(_part, parts))


def _are_parts(value: Any) -> bool:
    """Whether a list surely holds parts: each has a text, or a field of the name of its type."""
    if not value or not isinstance(value, list) or not all(isinstance(p, dict) for p in value):
        return False
    return all(_is_typed(part.get("type"), part) for part in value)


def _is_typed(kind: Any, part: dict[str, Any]) -> bool:
    if kind in _TEXTS:
        return isinstance(part.get("text"), str)
    return isinstance(kind, str) and kind in part


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or not {"type", "text"} & set(part):
        raise Unusable("content that is no text")
    kind = part.get("type") or "text"
    if kind not in _TEXTS or not isinstance(part.get("text"), str):
        raise Unusable(f"content of type {lost.excerpt(str(kind))[:_SHOWN]}")
    return str(part["text"])

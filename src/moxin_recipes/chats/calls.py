"""Tools and calls of tools as chat templates read them, from the ways in which rows hold them."""

from typing import Any

from moxin_recipes.chats.cells import nothing, parsed
from moxin_recipes.chats.rendering import Unusable

_ARGUMENTS = ("arguments", "parameters", "input")  # as OpenAI, Llama 3.1 and Anthropic name them


def tools(value: Any, where: str) -> list[dict[str, Any]]:
    """Returns JSON schemas, each `{"type": "function", "function": …}`.

    They come as a list or its JSON text, of schemas, of bare functions, or of their JSON texts.
    `where` is their column. Raises Unusable for anything else.
    """
    listed = parsed(value)
    if isinstance(listed, str):
        raise Unusable(f"{where} is a text that is not JSON")
    schemas = []
    for given in listed if isinstance(listed, list) else [listed]:
        tool, function = _function(given)
        if function is None:
            raise Unusable(f"a tool in {where} has no name")
        bare = {name: item for name, item in function.items() if name != "type"}
        schemas.append({"type": "function", "function": bare if function is tool else function})
    return schemas


def made(value: Any) -> list[dict[str, Any]]:
    """Returns the calls of a turn, each with `function`: a name, and arguments by name.

    Arguments that are a JSON text are read. Raises Unusable for what is no call.
    """
    listed = parsed(value)
    if nothing(listed):
        return []
    return [_call(call) for call in (listed if isinstance(listed, list) else [listed])]


def _call(given: Any) -> dict[str, Any]:
    call, function = _function(given)
    if function is None:
        raise Unusable("a call of a tool has no name")
    arguments = parsed(next((function[name] for name in _ARGUMENTS if name in function), None))
    if nothing(arguments):
        arguments = {}
    if not isinstance(arguments, dict):
        raise Unusable("a call of a tool whose arguments are no JSON object")
    beside = {"id": call["id"]} if "id" in call else {}
    return {
        **beside,
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _function(given: Any) -> tuple[Any, dict[str, Any] | None]:
    """A tool or a call, and the function in it, or itself; None if that has no name."""
    tool = _named(parsed(given))
    function = _named(parsed(tool["function"])) if "function" in tool else tool
    return tool, function if isinstance(function.get("name"), str) else None


def _named(value: Any) -> dict[str, Any]:
    """The fields of an object that are not null."""
    fields = value.items() if isinstance(value, dict) else ()
    return {name: item for name, item in fields if item is not None}

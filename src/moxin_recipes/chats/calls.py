"""Tools and calls of tools as chat templates read them, from the ways in which rows hold them."""

from typing import Any

from moxin_recipes.chats.cells import parsed
from moxin_recipes.chats.rendering import Unusable


def tools(value: Any, where: str) -> list[dict[str, Any]] | None:
    """Returns JSON schemas, each `{"type": "function", "function": …}`; None if there are none.

    They come as a list or its JSON text, of schemas, of bare functions, or of their JSON texts.
    `where` is their column. Raises Unusable for anything else.
    """
    listed = parsed(value)
    if isinstance(listed, str):
        if not listed.strip() or listed.strip() == "null":
            return None
        raise Unusable(f"{where} is a text that is not JSON")
    schemas = []
    for given in listed if isinstance(listed, list) else [listed]:
        tool = _filled(parsed(given))
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Unusable(f"a tool in {where} has no name")
        bare = {name: item for name, item in function.items() if name != "type"}
        schemas.append({"type": "function", "function": bare if function is tool else function})
    return schemas or None


def made(value: Any) -> list[dict[str, Any]]:
    """Returns the calls of a turn, each with `function`: a name, and arguments by name.

    Arguments that are a JSON text are read. Raises Unusable for what is no call.
    """
    listed = parsed(value)
    if not listed:
        return []
    return [
        _call(_filled(parsed(call))) for call in (listed if isinstance(listed, list) else [listed])
    ]


def _call(call: Any) -> dict[str, Any]:
    function = parsed(call.get("function", call)) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable("a call of a tool has no name")
    arguments = parsed(function.get("arguments", {})) or {}
    if not isinstance(arguments, dict):
        raise Unusable("a call of a tool whose arguments are no JSON object")
    beside = {"id": call["id"]} if "id" in call else {}
    return {
        **beside,
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _filled(value: Any) -> Any:
    """The value without the fields that are null: tables fill the fields of other rows so."""
    if isinstance(value, dict):
        return {name: _filled(item) for name, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value

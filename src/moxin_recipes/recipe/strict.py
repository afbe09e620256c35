"""Strict YAML and strict types: what a recipe may say, without any key of one."""

import dataclasses
import difflib
import enum
import re
import types
import typing
from typing import Any

import yaml


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the key and the way out in one line."""


class Loader(yaml.SafeLoader):
    """SafeLoader that refuses doubled keys, reads 5e-6 as a number and `no` as a word."""


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if key_node.value in seen:
            first = seen[key_node.value]
            raise RecipeError(f"`{key_node.value}` is given twice, in lines {first} and {line}")
        seen[key_node.value] = line
    return typing.cast(dict[str, Any], yaml.SafeLoader.construct_mapping(loader, node, deep=True))


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 takes yes, no, on and off for booleans; `save_strategy: no` means the word.
_BOOL = "tag:yaml.org,2002:bool"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(_BOOL, re.compile(r"(true|True|false|False)$"), list("tTfF"))
# YAML 1.1 wants a dot and a signed exponent in a float; people write 5e-6 and 1e5.
_FLOAT = re.compile(r"[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][-+]?\d+)$|[-+]?\d[\d_]*\.[\d_]*$")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def required(kind: type) -> list[str]:
    """Fields of a dataclass that have no default."""
    nothing = dataclasses.MISSING
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is nothing and field.default_factory is nothing
    ]


def conform(key: str, value: Any, hint: Any) -> Any:
    """The value as the hint wants it, or a RecipeError; nothing is rounded or guessed."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        nested = [option for option in inner if dataclasses.is_dataclass(option)]
        if nested and isinstance(value, dict):
            return conform(key, value, nested[0])  # its own errors name the key within
        for option in inner:
            try:
                return conform(key, value, option)
            except RecipeError:
                continue
        raise _wrong(key, value, hint)
    if origin is typing.Literal:
        fits = value in inner
    elif origin is list or hint is list:
        if not isinstance(value, list):
            raise _wrong(key, value, hint)
        of = inner[0] if inner else Any
        return [conform(f"{key}[{i}]", item, of) for i, item in enumerate(value)]
    elif origin is dict or hint is dict:
        fits = isinstance(value, dict)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _item(key, value, hint)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        fits = value in [member.value for member in hint]
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, hint)
    if not fits:
        raise _wrong(key, value, hint)
    return value


def _item(key: str, value: Any, kind: type) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(key, value, kind)
    hints = typing.get_type_hints(kind)
    item = {}
    for name, inner in value.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            raise RecipeError(
                f"unknown key `{key}.{name}`" + (f"; did you mean `{near[0]}`?" if near else "")
            )
        item[name] = conform(f"{key}.{name}", inner, hints[name])
    for name in required(kind):
        if name not in item:
            raise RecipeError(f"`{key}.{name}` is missing")
    return item


def _wrong(key: str, value: Any, hint: Any) -> RecipeError:
    wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return RecipeError(f"`{key}` must be {wanted}, not {value!r} ({type(value).__name__})")

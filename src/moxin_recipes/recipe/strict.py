"""Strict YAML and strict types: what a recipe may say, without any key of one."""

import dataclasses
import difflib
import enum
import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import yaml

from moxin_recipes.recipe.bounds import Bounds

T = TypeVar("T")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message names the key and the way out in one line."""


class OutOfBounds(RecipeError):
    """A number of the right type that lies outside its bounds."""


class Loader(yaml.SafeLoader):
    """SafeLoader that refuses doubled keys, reads 5e-6 as a number and `no` as a word."""


def parse(text: str) -> Any:
    """The plain values of a YAML text: what JSON knows, with strings for keys.

    RecipeError says in one line what cannot be read, and where.
    """
    try:
        values = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
        json.dumps(values, ensure_ascii=False).encode()
    except RecipeError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise RecipeError(f"not YAML: {where}{error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"not YAML that a recipe may hold: {reason}") from error
    return values


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag not in (_STRING, _MERGE):
            raise RecipeError(f"line {line}: a key is a word, not {key_node.value!r}")
        if key_node.value in seen:
            first = seen[key_node.value]
            raise RecipeError(f"`{key_node.value}` is given twice, in lines {first} and {line}")
        seen[key_node.value] = line
    return typing.cast(dict[str, Any], yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 takes yes, no, on and off for booleans; `save_strategy: no` means the word. A date is the
# word that was written, too.
_BOOL, _DATE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _DATE)]
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


def build(kind: type[T], values: dict[str, Any], within: str = "") -> T:
    """An instance of a dataclass from plain values, each as its field's type wants it.

    `within` is the key that the values stand under (`sources[0].`), for errors. RecipeError names
    the first key that is unknown, missing, or of the wrong type.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in values:
        if name not in hints:
            raise RecipeError(f"unknown key `{within}{name}`" + near(name, hints))
    for name in required(kind):
        if name not in values:
            raise RecipeError(f"`{within}{name}` is missing")
    return kind(**{key: conform(within + key, value, hints[key]) for key, value in values.items()})


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the known name that is nearest, if one is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def conform(key: str, value: Any, hint: Any) -> Any:
    """The value as the hint wants it, or a RecipeError; nothing is rounded or guessed.

    A mapping becomes an instance where the hint is a dataclass.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return _within(key, conform(key, value, inner[0]), hint.__metadata__)
    if origin in (typing.Union, types.UnionType):
        return _one_of(key, value, hint)
    if origin is list or hint is list:
        if not isinstance(value, list):
            raise _wrong(key, value, hint)
        item = inner[0] if inner else Any
        return [conform(f"{key}[{i}]", one, item) for i, one in enumerate(value)]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise _wrong(key, value, hint)
        return build(hint, value, f"{key}.")
    if not _fits(value, hint):
        raise _wrong(key, value, hint)
    return float(value) if hint is float else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that is no list and no dataclass is of the type."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) is dict or hint is dict:
        return isinstance(value, dict)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [member.value for member in hint]
    if hint in (float, int):
        numbers = (int, float) if hint is float else (int,)
        number = isinstance(value, numbers) and not isinstance(value, bool)
        return number and abs(value) < 2**63  # NaN and infinity are no numbers here
    return isinstance(value, hint)


def _one_of(key: str, value: Any, hint: Any) -> Any:
    """The value as the first type of a union that takes it."""
    options = typing.get_args(hint)
    nested = [option for option in options if dataclasses.is_dataclass(option)]
    if nested and isinstance(value, dict):
        return conform(key, value, nested[0])  # its own errors name the key within
    for option in options:
        try:
            return conform(key, value, option)
        except OutOfBounds:
            raise
        except RecipeError:
            continue
    raise _wrong(key, value, hint)


def _within(key: str, value: Any, bounds: Iterable[Any]) -> Any:
    for bound in bounds:
        if isinstance(bound, Bounds) and not bound.allow(value):
            raise OutOfBounds(f"`{key}` must be {bound}, not {value:g}")
    return value


def _wrong(key: str, value: Any, hint: Any) -> RecipeError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return RecipeError(f"`{key}` must be {_words(hint)}, not {shown} ({type(value).__name__})")


def _words(hint: Any) -> str:
    """A type in the words of an error: `int`, `list of str`, `adamw or muon`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _words(inner[0])
    if origin is typing.Literal:
        return " or ".join(map(str, inner))
    if origin is list and inner:
        return f"list of {_words(inner[0])}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join("None" if one is type(None) else _words(one) for one in inner)
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")

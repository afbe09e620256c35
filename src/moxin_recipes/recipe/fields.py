"""What a field of a stage's keys is: an input, an output, and how much it decides.

The class of a key says what another value of it changes:

- *result*: what comes out. Another value is another result, so the stage runs anew.
- *rounding*: only the order of sums. The samples and the arithmetic stay the same.
- *harmless*: where and how a stage runs, logs and pushes.

A field without a class is of the class *result*.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Class = Literal["result", "rounding", "harmless"]

# Metadata of fields: `field(default=…, metadata=HARMLESS)`.
HARMLESS = {"class": "harmless"}
ROUNDING = {"class": "rounding"}
# An input reads REPOSITORY[@REVISION]. The digest of its files decides the result, not its name.
MODEL_INPUT = {"input": "model"}
DATASET_INPUT = {"input": "dataset"}
# An input that only measures or chooses: nothing of it is in what the stage makes.
MEASURE = {"part": False}
# An output names a repository that the stage pushes.
MODEL_OUTPUT = {"output": "model", "class": "harmless"}
DATASET_OUTPUT = {"output": "dataset", "class": "harmless"}


@dataclass(frozen=True)
class Reference:
    """An input: the recipe's key, the repository's type, name and revision as written there.

    Of a file or folder of this machine `repo` is its path (`is_path`). The revision `*` stands for
    all of a repository. A benchmark's name is whole as it is, and where no Hub has it, its tasks
    alone fail.
    """

    key: str
    type: str
    repo: str
    revision: str
    benchmark: bool = False


def is_path(written: str) -> bool:
    """Whether an input names a file or a folder of this machine, relative to the current folder."""
    return written in (".", "..", "~") or written.startswith(("./", "../", "~/", "/"))


def is_made_here(field: dataclasses.Field[Any], written: Any) -> bool:
    """Whether an input field names what the stage itself makes, and no repository."""
    return written in field.metadata.get("made_here", ())


def measures(keys: Any) -> set[str]:
    """The flat keys whose inputs only measure or choose (`MEASURE`)."""
    return {
        field.name for field in dataclasses.fields(keys) if not field.metadata.get("part", True)
    }


def class_of(field: dataclasses.Field[Any]) -> Class:
    """The class of one of our own fields."""
    named: Class = field.metadata.get("class", "result")
    return named


def defaults(keys: Any) -> dict[str, Any]:
    """Name → default of each field that has one."""
    missing = dataclasses.MISSING
    return {
        field.name: field.default if field.default_factory is missing else field.default_factory()
        for field in dataclasses.fields(keys)
        if field.default is not missing or field.default_factory is not missing
    }


def outputs(keys: Any) -> dict[str, tuple[str, str]]:
    """Key → (repository, its type) of each output that has a name, in the order of the fields."""
    return {
        field.name: (getattr(keys, field.name), field.metadata["output"])
        for field in dataclasses.fields(keys)
        if "output" in field.metadata and getattr(keys, field.name)
    }


def references(keys: Any) -> list[Reference]:
    """The inputs: those of flat keys by the keys' names, then the nested ones in their order."""
    flat = sorted(_inputs("", keys), key=lambda found: found[0])
    nested = [
        found
        for field in dataclasses.fields(keys)
        for name, item in _items(field.name, getattr(keys, field.name))
        for found in _inputs(name, item)
    ]
    return [
        Reference(key, kind, repo, revision or "main")
        for key, kind, written in (*flat, *nested)
        for repo, _, revision in [(written, "", "") if is_path(written) else written.partition("@")]
    ]


def _items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The nested dataclasses under a key, with the names that errors give them."""
    if dataclasses.is_dataclass(value):
        yield name, value
    elif isinstance(value, list):
        for position, item in enumerate(value):
            if dataclasses.is_dataclass(item):
                yield f"{name}[{position}]", item


def _inputs(name: str, keys: Any) -> Iterator[tuple[str, str, str]]:
    """(key, type, REPOSITORY[@REVISION]) of the input fields of one dataclass."""
    for field in dataclasses.fields(keys):
        value = getattr(keys, field.name)
        if "input" in field.metadata and value:
            for written in value if isinstance(value, list) else [value]:
                if not is_made_here(field, written):
                    yield name or field.name, field.metadata["input"], written

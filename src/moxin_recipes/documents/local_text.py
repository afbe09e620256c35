"""Real text that every machine has: Python's own library and the READMEs of installed packages.

Each source is an iterator of ``{"text", "source", "license", "origin"}`` in sorted order (and of
``group`` where two sources share their text), so that
one machine always yields the same documents. What cannot be read is counted, never fatal. The
READMEs depend on what is installed: the corpus is reproducible per environment, not across them.
"""

import ast
import platform
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

Document = dict[str, str]
Skipped = Counter[str]

PYTHON_LICENSE = "PSF-2.0"
EXCLUDED_FOLDERS = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
)
_NOT_READ = ("moxin-recipes", "xllamacpp")  # distributions
_NAMES_OF_LICENSES = "License :: OSI Approved :: "


def stdlib_root() -> Path:
    """The folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _modules(root: Path, skipped: Skipped) -> Iterator[tuple[str, str]]:
    """(path below `root`, text) of each module that is no test, not installed and not empty."""
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if EXCLUDED_FOLDERS.intersection(relative.parts[:-1]):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            skipped["undecodable"] += 1
            continue
        except OSError:
            skipped["unreadable"] += 1
            continue
        if text.strip():
            yield relative.as_posix(), text
        else:
            skipped["empty"] += 1


def stdlib_code(root: Path | None = None, skipped: Skipped | None = None) -> Iterator[Document]:
    """The modules of the standard library, one document each; `skipped` counts unread files."""
    for origin, text in _modules(root or stdlib_root(), Counter() if skipped is None else skipped):
        yield {**_document(text, "stdlib-code", PYTHON_LICENSE, origin), "group": origin}


def stdlib_docstrings(
    root: Path | None = None, skipped: Skipped | None = None
) -> Iterator[Document]:
    """The docstrings of each module, its classes and functions, one document a module."""
    skipped = Counter() if skipped is None else skipped
    for origin, text in _modules(root or stdlib_root(), skipped):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in templates are not our concern
                tree = ast.parse(text)
        except (SyntaxError, ValueError):
            skipped["unparsable"] += 1
            continue
        parts = list(_docstrings(tree))
        if parts:
            text = "\n\n".join(parts)
            yield {
                **_document(text, "stdlib-docstrings", PYTHON_LICENSE, origin),
                "group": origin,
            }


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = (ast.get_docstring(node) or "").strip()
            if docstring:
                name = "" if isinstance(node, ast.Module) else f"{node.name}\n"
                yield f"{name}{docstring}"


def pydoc_topics() -> Iterator[Document]:
    """The topics of the interpreter's own `help()`: the language reference as plain text."""
    from pydoc_data.topics import topics  # half a megabyte of literals: loaded only when asked for

    for name, text in sorted(topics.items()):
        if text.strip():
            yield _document(text, "pydoc-topics", PYTHON_LICENSE, name)


def package_readmes(skipped: Skipped | None = None) -> Iterator[Document]:
    """The long description of each installed distribution, with the licence that it declares.

    Not this package's own, which reports what was trained and would change it, nor llama.cpp's,
    which only tests install: figures of the small ladder were measured without it.
    """
    skipped = Counter() if skipped is None else skipped
    by_origin: dict[str, Document] = {}
    for distribution in metadata.distributions():
        try:
            fields = distribution.metadata
            name, text = fields["Name"], fields.get_payload() or fields.get("Description") or ""  # type: ignore[attr-defined]
        except (UnicodeDecodeError, OSError):
            skipped["undecodable"] += 1
            continue
        if not name or not isinstance(text, str) or len(text.strip()) < 100:
            skipped["empty"] += 1
            continue
        if name in _NOT_READ:
            continue
        origin = f"{name} {fields['Version']}"
        by_origin.setdefault(origin, _document(text, "package-readmes", _license(fields), origin))
    for origin in sorted(by_origin):
        yield by_origin[origin]


def distributions(source: str, origins: Iterable[str]) -> list[str]:
    """What the texts of a source came with, `NAME VERSION` each, by the origins of the texts."""
    if source == "package-readmes":
        return sorted(origins)
    return [f"python {platform.python_version()}"]


def _license(fields: metadata.PackageMetadata) -> str:
    """The licence a distribution declares: expression, classifier, or the field's first line."""
    expression: str | None = fields.get("License-Expression")  # type: ignore[attr-defined]
    if expression:
        return expression
    classified = [
        value.removeprefix(_NAMES_OF_LICENSES)
        for value in fields.get_all("Classifier") or []
        if value.startswith(_NAMES_OF_LICENSES)
    ]
    if classified:
        return ", ".join(sorted(classified))
    field: str = fields.get("License") or ""  # type: ignore[attr-defined]
    lines = field.strip().splitlines()
    return lines[0][:80] if lines else "unknown"


def _document(text: str, source: str, license_name: str, origin: str) -> Document:
    return {
        "text": text.replace("\r\n", "\n"),
        "source": source,
        "license": license_name,
        "origin": origin,
    }


SOURCES: dict[str, Callable[[], Iterator[Document]]] = {
    "stdlib-code": stdlib_code,
    "stdlib-docstrings": stdlib_docstrings,
    "pydoc-topics": pydoc_topics,
    "package-readmes": package_readmes,
}

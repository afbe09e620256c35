"""Which files of a repository are big files: by name, as .gitattributes says, by size, by bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from fnmatch import fnmatchcase

from dulwich.ignore import IgnoreFilter

LARGEST_REGULAR = 10 << 20  # bytes; what git itself is asked to hold at most

_TENSORS = (
    "bin ckpt ftz gguf h5 joblib mlmodel model msgpack npy npz onnx ot pb pickle pkl pt pth "
    "safetensors tflite"
)
_TABLES = "arrow parquet wasm"
_ARCHIVES = "7z bz2 gz lz4 rar tar tgz xz zip zst"
_MEDIA = "aac avi bmp flac gif jpeg jpg mkv mp3 mp4 ogg opus pcm pdf png sam tiff wav webm webp"


def _rules(*groups: str) -> str:
    suffixes = sorted({suffix for group in groups for suffix in group.split()})
    patterns = [f"*.{suffix}" for suffix in suffixes] + ["*tfevents*", "saved_model/**/*"]
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)


# The .gitattributes of a new repository, by its type.
DEFAULT = {
    "model": _rules(_TENSORS, _TABLES, _ARCHIVES),
    "dataset": _rules(_TENSORS, _TABLES, _ARCHIVES, _MEDIA),
    "space": _rules(_TENSORS, _TABLES, _ARCHIVES),
}
_ALWAYS = tuple(f".{suffix}" for suffix in ("safetensors", "bin", "parquet", "model", "npy"))


def is_big(path: str, size: int, sample: bytes, attributes: Iterable[tuple[str, bool]]) -> bool:
    """Whether a file of `size` bytes that starts with `sample` goes to the big-file store."""
    if size == 0:
        return False
    if size > LARGEST_REGULAR or path.endswith(_ALWAYS) or is_binary(sample):
        return True
    verdict = False
    for pattern, lfs in attributes:  # the last rule that matches wins
        if _matches(pattern, path):
            verdict = lfs
    return verdict


def parse_attributes(text: str) -> list[tuple[str, bool]]:
    """(pattern, goes to the big-file store) for each rule of a .gitattributes about filters."""
    rules = []
    for line in text.splitlines():
        pattern, *attributes = line.split() or [""]
        if pattern.startswith("#"):
            continue
        for attribute in attributes:
            if attribute.startswith("filter="):
                rules.append((pattern, attribute == "filter=lfs"))
            elif attribute in ("-filter", "!filter"):
                rules.append((pattern, False))
    return rules


def is_binary(sample: bytes) -> bool:
    """Whether a file starts as no text does: a zero, or no UTF-8 (but at a cut-off end)."""
    if b"\0" in sample:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return True
    return False


class Ignored:
    """A .gitignore: which paths it keeps out."""

    def __init__(self, text: str) -> None:
        lines = [line.encode() for line in text.splitlines()]
        self._filter = IgnoreFilter([line for line in lines if line and not line.startswith(b"#")])

    def __contains__(self, path: str) -> bool:
        names = path.split("/")
        parents = ["/".join(names[: depth + 1]) + "/" for depth in range(len(names) - 1)]
        return any(self._filter.is_ignored(candidate) for candidate in [*parents, path])


def _matches(pattern: str, path: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(path.rpartition("/")[2], pattern)
    return fnmatchcase(path, pattern.lstrip("/").replace("/**/", "/*"))

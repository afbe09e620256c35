"""Which files of a repository are big files: by name, as .gitattributes says, by size, by bytes."""

import codecs
import re
from fnmatch import fnmatchcase
from io import BytesIO

from dulwich.attrs import parse_git_attributes
from dulwich.ignore import IgnoreFilter, read_ignore_patterns

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
}
_STARS, _MOST_STARS = re.compile(rb"\*+"), 3  # runs of stars in a line of .gitignore that is read
_ALWAYS = tuple(f".{suffix}" for suffix in ("safetensors", "bin", "parquet", "model", "npy"))


class Rules:
    """What a .gitattributes and a .gitignore say of paths."""

    def __init__(self, attributes: bytes, ignore: bytes) -> None:
        parsed = parse_git_attributes(BytesIO(attributes))
        self._filters = [(p.decode(errors="replace"), a) for p, a in parsed if b"filter" in a]
        patterns = list(read_ignore_patterns(BytesIO(ignore)))
        # dulwich's expressions backtrack: time grows with the path's length to the power of stars.
        self._ignored = IgnoreFilter([p for p in patterns if len(_STARS.findall(p)) <= _MOST_STARS])

    def is_big(self, path: str, size: int, sample: bytes) -> bool:
        """Whether a file of `size` bytes that starts with `sample` goes to the big-file store."""
        if size == 0:
            return False
        if size > LARGEST_REGULAR or path.endswith(_ALWAYS) or _is_binary(sample):
            return True
        filters = [
            values[b"filter"] for pattern, values in self._filters if _matches(pattern, path)
        ]
        return filters[-1:] == [b"lfs"]  # the last rule that matches wins

    def is_ignored(self, path: str) -> bool:
        """Whether the path, or a folder that it lies in, is to be left out."""
        return bool(self._ignored.is_ignored(path))


def _matches(pattern: str, path: str) -> bool:
    """With fnmatch, which no pattern makes slow; dulwich's own patterns can take for ever."""
    if "/" not in pattern:
        return fnmatchcase(path.rpartition("/")[2], pattern)
    return fnmatchcase(path, pattern.lstrip("/").replace("/**/", "/*"))


def _is_binary(sample: bytes) -> bool:
    """Whether a file starts as no text does: a zero, or no UTF-8 (but at a cut-off end)."""
    if b"\0" in sample:
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return True
    return False

"""The bytes of a file as it was before it was packed; what is damaged is told, and passed over."""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

# (reason, where in the file, what is left of it)
Aside = Callable[[str, str, str], None]
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")  # how a gzip member begins
_PIECE = 1 << 16


def unpacked(path: Path, packing: str | None, aside: Aside) -> Iterator[bytes]:
    """The bytes of a file in pieces; b"\\n" where some are missing.

    A damaged gzip member is passed over; of another packing the rest of the file is.
    """
    with path.open("rb") as raw:
        if packing == "gzip":
            yield from _gunzipped(raw, aside)
            return
        try:
            read = _opened(raw, packing)
            while piece := read(_PIECE):
                yield piece
        except (OSError, EOFError, lzma.LZMAError) as error:
            if packing is None:
                raise
            aside("damaged file", ", its rest", str(error))


def _opened(raw: Any, packing: str | None) -> Callable[[int], bytes]:
    """A function that reads at most so many unpacked bytes, and what there is before a damage."""
    if packing == "zstd":
        stream: Callable[[int], bytes] = pa.CompressedInputStream(raw, "zstd").read
        return stream
    if packing == "bz2":
        return bz2.open(raw).read1
    if packing == "xz":
        return lzma.open(raw).read1
    return raw.read  # type: ignore[no-any-return]


def _gunzipped(raw: Any, aside: Aside) -> Iterator[bytes]:
    """Member after member; after a damaged one, whatever looks like the next one."""
    begun: int | None = 0  # where the member at hand begins
    while begun is not None:
        raw.seek(begun)
        member = zlib.decompressobj(31)
        try:
            while not member.eof and (data := raw.read(_PIECE)):
                yield member.decompress(data)
        except zlib.error as error:
            aside("damaged gzip member", f", member at byte {begun}", str(error))
            yield b"\n"  # ends the line that was cut
            begun = _next_member(raw, begun + 1)
            continue
        if not member.eof:
            aside("damaged gzip member", f", member at byte {begun}", "cut off")
            return
        rest = member.unused_data or raw.read(1)
        begun = raw.tell() - len(rest) if rest.strip(b"\0") else None


def _next_member(raw: Any, start: int) -> int | None:
    """Offset of the first place from `start` on where a gzip member may begin."""
    raw.seek(start)
    before = b""
    while piece := raw.read(_PIECE):
        window = before + piece
        member = _MEMBER.search(window)
        if member:
            return int(raw.tell()) - len(window) + member.start()
        before = piece[-3:]
    return None

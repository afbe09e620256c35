"""Text of bytes: the encoding is declared, or certain (a mark at the start, valid UTF-8)."""

import codecs
import io
import itertools
from collections.abc import Iterator

# The byte order marks; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
_WAY_OUT = "set `encoding` (such as cp1252, gb18030, shift_jis, utf-16-le)"


class Undecodable(ValueError):
    """Bytes that are not of the encoding: `reason` in few words, the first such byte's offset."""

    def __init__(self, encoding: str, offset: int, found: str, is_declared: bool) -> None:
        name = "UTF-8" if encoding == "utf-8" else encoding
        self.reason, self.offset = f"invalid {name}", offset
        way_out = "`encoding` says so; change it" if is_declared else _WAY_OUT
        super().__init__(f"not {name} at byte {offset:,} ({found}); {way_out}")


def utf8(pieces: Iterator[bytes], declared: str | None) -> Iterator[bytes]:
    """The text as UTF-8 without a mark; UTF-8 itself stays as it is, valid or not.

    Raises:
        Undecodable: at the place where another encoding does not hold.
    """
    encoding, read, pieces = _begun(pieces, declared)
    if codecs.lookup(encoding).name == "utf-8":
        yield from pieces
    else:
        for text in _strict(pieces, encoding, read, declared):
            yield text.encode()


def text(pieces: Iterator[bytes], declared: str | None) -> Iterator[str]:
    """The text in pieces, without a mark, with \\n for each end of a line.

    Raises:
        Undecodable: at the first place where the encoding does not hold.
    """
    encoding, read, pieces = _begun(pieces, declared)
    return _strict(pieces, encoding, read, declared)


def _begun(pieces: Iterator[bytes], declared: str | None) -> tuple[str, int, Iterator[bytes]]:
    """The encoding, the mark's length, and the pieces after it.

    A mark is right, whatever was declared.
    """
    head = b""
    while len(head) < 4 and (piece := next(pieces, None)) is not None:
        head += piece
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark), itertools.chain([head[len(mark) :]], pieces)
    if declared is None and b"\0" in head:
        found = "a zero byte: UTF-16 or UTF-32 without a mark, or no text"
        raise Undecodable("utf-8", head.index(b"\0"), found, is_declared=False)
    return declared or "utf-8", 0, itertools.chain([head], pieces)


def _strict(
    pieces: Iterator[bytes], encoding: str, read: int, declared: str | None
) -> Iterator[str]:
    """The text; `read` bytes stand before it."""
    inner = codecs.getincrementaldecoder(encoding)("strict")
    decoder = io.IncrementalNewlineDecoder(inner, translate=True)
    for piece, final in itertools.chain(((piece, False) for piece in pieces), [(b"", True)]):
        read += len(piece)
        try:
            yield decoder.decode(piece, final=final)
        except UnicodeDecodeError as error:
            offset = read - len(error.object) + error.start
            found = f"0x{error.object[error.start]:02x}"
            raise Undecodable(encoding, offset, found, declared is not None) from None
        except UnicodeError as error:  # utf-16 and utf-32 without the mark that they begin with
            offset = read - len(piece)
            raise Undecodable(encoding, offset, str(error), declared is not None) from None

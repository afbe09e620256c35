"""The rows of data files: objects by their columns, or texts where a kind has no columns."""

import errno
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, AnyStr

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from moxin_recipes.documents import tables, values
from moxin_recipes.documents.decoded import Undecodable, text, utf8
from moxin_recipes.documents.kinds import READ, kind_of
from moxin_recipes.documents.unpacked import Aside, unpacked
from moxin_recipes.recipe.strict import RecipeError

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | str]]
MAX_BYTES = 20_000_000  # of one document; above that it is a dump, and costs gigabytes to filter
_LINES_LOOKED_AT = 20


class FileRows:
    """The rows of one file, each with its number from 0.

    `encoding` is None where it is to be detected, `separator` stands between the documents of a
    text file, `column` is the one wanted of a table, `columns` are all that are wanted of a parquet
    file (None: all there are). What cannot be used goes to `aside`.
    """

    def __init__(
        self,
        path: Path,
        aside: Aside,
        *,
        encoding: str | None = None,
        separator: str | None = None,
        column: str | None = None,
        columns: set[str] | None = None,
    ) -> None:
        self.path, self.aside, self.encoding = path, aside, encoding
        self.separator, self.column, self.columns = separator, column, columns
        found = kind_of(path.name)
        if found is None:
            raise RecipeError(f"{path}: not a kind that is read ({READ})")
        self.kind, self.packing = found

    def __iter__(self) -> Rows:
        read = {
            "text": self._texts,
            "table": self._table,
            "json": self._json,
            "lines": lambda: self._lines(self._utf8()),
            "parquet": self._parquet,
        }[self.kind]
        try:
            yield from read()
        except Undecodable as error:
            self.aside(error.reason, f", from byte {error.offset} on", str(error))
        except RecipeError as error:
            raise RecipeError(f"{self.path.name}: {error}") from None
        except OSError as error:
            if error.errno == errno.ENOSPC:  # of this machine, and not of the file
                raise
            self.aside("unreadable file", "", str(error.strerror or error))

    def _bytes(self) -> Iterator[bytes]:
        return unpacked(self.path, self.packing, self.aside)

    def _utf8(self) -> Iterator[bytes]:
        return utf8(self._bytes(), self.encoding)

    def _text(self) -> Iterator[str]:
        return text(self._bytes(), self.encoding)

    def _texts(self) -> Rows:
        """A document a file, or what stands between separators."""
        # Line ends are \n in the text, whatever they were in the file.
        separator = (self.separator or "").replace("\r\n", "\n").replace("\r", "\n")
        left, number, is_begun = "", 0, True  # whether `left` begins with its document
        for piece in self._text():
            border = max(0, len(left) - len(separator))
            left += piece
            if separator and separator in left[border:]:
                *whole, left = left.split(separator)
                for part in filter(str.strip, whole[not is_begun :]):
                    yield number, part
                    number += 1
                is_begun = True
            if len(left) > MAX_BYTES:
                if is_begun:
                    what = "no `separator` in them" if separator else "set `separator`"
                    self.aside("too long", f"#{number}", f"above 20 MB; {what}")
                    number += 1
                left, is_begun = left[-len(separator) :] if separator else "", False
        if is_begun and left.strip():
            yield number, left

    def _table(self) -> Rows:
        lines = _lines(self._text(), "\n")
        is_tabbed = ".tsv" in self.path.name.lower()
        yield from tables.rows(lines, self.column, is_tabbed, self.aside)

    def _lines(self, pieces: Iterator[bytes]) -> Rows:
        """An object a line; a line that is none goes aside as it stands."""
        for number, line in enumerate(_lines(pieces, b"\n")):
            if not line.strip():
                continue
            try:
                row = _object(line.decode())
            except UnicodeDecodeError:
                escaped = line.decode(errors="backslashreplace")
                self.aside("invalid UTF-8", f"#{number}", escaped)
            except orjson.JSONDecodeError:
                self.aside("broken line", f"#{number}", line.decode())
            else:
                if isinstance(row, dict):
                    yield number, row
                else:
                    self.aside("broken line", f"#{number}", line.decode())

    def _json(self) -> Rows:
        """An array, objects one after another, or an object a line."""
        pieces = self._utf8()
        head = b""
        while b"\n" not in head.lstrip() and len(head) < MAX_BYTES:
            piece = next(pieces, None)
            if piece is None:
                break
            head += piece
        pieces = itertools.chain([head], pieces)
        if _is_by_line(head):
            yield from self._lines(pieces)
            return
        for number, value in enumerate(values.of(text(pieces, None), self.aside)):
            if isinstance(value, dict | str):
                yield number, value
            else:
                self.aside("no object", f"#{number}", json.dumps(value)[:1000])

    def _parquet(self) -> Rows:
        number = 0
        try:
            with self._seekable() as file, pq.ParquetFile(file) as table:
                names = table.schema_arrow.names
                columns = [name for name in names if self.columns is None or name in self.columns]
                for batch in table.iter_batches(batch_size=100, columns=columns):
                    for row in batch.to_pylist():
                        yield number, row
                        number += 1
        except (pa.ArrowException, OSError, OverflowError) as error:  # dates beyond Python's
            self.aside("unreadable file", f"#{number}", str(error))
        except UnicodeDecodeError:
            self.aside("invalid UTF-8", f"#{number} and what follows", "")

    def _seekable(self) -> IO[bytes]:
        """The file itself, or what was packed in it."""
        if self.packing is None:
            return self.path.open("rb")
        whole = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        whole.writelines(self._bytes())
        whole.seek(0)
        return whole


def _object(line: str) -> Any:
    """The value of a line; with NaN and the infinities, as Python writes them."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if "NaN" not in line and "Infinity" not in line:
            raise
        try:
            return json.loads(line)
        except RecursionError as error:
            raise orjson.JSONDecodeError(str(error), line, 0) from error


def _is_by_line(head: bytes) -> bool:
    """Whether a .json file holds an object a line; an array, or a pretty-printed one, does not."""
    if head.lstrip().startswith(b"["):
        return False
    for line in head.splitlines()[:_LINES_LOOKED_AT]:
        if line.startswith(b"{"):
            try:
                return isinstance(orjson.loads(line), dict)
            except orjson.JSONDecodeError:
                continue
    return False


def _lines(pieces: Iterator[AnyStr], end: AnyStr) -> Iterator[AnyStr]:
    """Lines of a stream of pieces; the last one need not have an end."""
    parts: list[AnyStr] = []
    for piece in pieces:
        first, newline, rest = piece.partition(end)
        parts.append(first)
        if not newline:
            continue
        yield end[:0].join(parts)
        whole: list[AnyStr] = rest.split(end)
        yield from whole[:-1]
        parts = whole[-1:]
    yield end[:0].join(parts)

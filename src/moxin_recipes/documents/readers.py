"""Readers that keep what they cannot use: each broken row, member or file is written down."""

import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from moxin_recipes.documents.columns import Removed

_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")  # how a gzip member begins
_PIECE = 1 << 16
MAX_BYTES = 20_000_000  # of one document; above that it is a dump, and costs gigabytes to filter


class Reader(PipelineStep):
    """Documents of jsonl (plain, .gz, .zst) and parquet files; task r of w reads files r, r + w, …

    `files` are below `folder`. A row becomes a document with `source`, `license` and `origin` (the
    file and its row). What cannot be used goes to `removed`: a broken line as it stands, a missing
    text, bytes that are no UTF-8 (escaped), a text of more than 20 MB, the place of a damaged gzip
    member (the next one is read again), and the rest of a file of which no more can be read.
    """

    type = "📖 - READER"
    name = "🩹 Careful reader"

    def __init__(
        self, folder: str, files: list[str], removed: Removed, source: dict[str, Any]
    ) -> None:
        super().__init__()
        self.folder, self.files, self.removed = folder, files, removed
        self.source = source["name"]
        self.text, self.license = source["text_column"], source["license"]
        self.license_column, self.url_column = source["license_column"], source["url_column"]
        self.max_bytes, self.template = source["max_bytes"], source["text_template"]
        self._rank = 0

    def run(
        self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        """Yields the documents of this task's files, up to its share of `max_bytes`."""
        yield from data or ()
        self._rank = rank
        left = self.max_bytes // world_size if self.max_bytes else None
        with closing(self.removed):
            for file in self.files[rank::world_size]:
                logger.info(f"reading {file}")
                for document in self._documents(file):
                    if left is not None:
                        left -= len(document.text.encode())
                        if left < 0:
                            return
                    self.stat_update("total")
                    yield document

    def _aside(self, reason: str, origin: str, text: str = "") -> None:
        self.stat_update(reason)
        row = {"source": self.source, "license": self.license, "origin": origin}
        document = Document(text, origin, metadata={**row, "filter_reason": reason})
        self.removed.write(document, self._rank)

    def _documents(self, file: str) -> Iterator[Document]:
        rows = self._parquet(file) if file.endswith(".parquet") else self._jsonl(file)
        for number, row in rows:
            origin = f"{file}#{number}"
            text = self._rendered(row) if self.template else row.get(self.text)
            if not isinstance(text, str) or not text:
                self._aside("no text", origin, "" if text is None else str(text))
            elif len(text.encode()) > MAX_BYTES:
                self._aside("too long", origin, text)
            else:
                yield Document(text, origin, metadata=self._metadata(row, origin))

    def _rendered(self, row: dict[str, Any]) -> str | None:
        """The text of a row by the template; None where a column is missing or of another kind."""
        try:
            return _compiled(str(self.template)).render(row)
        except (TemplateError, TypeError, ValueError, IndexError):
            return None

    def _metadata(self, row: dict[str, Any], origin: str) -> dict[str, Any]:
        given = row.get(self.license_column) if self.license_column else None
        names = ", ".join(map(str, given)) if isinstance(given, list) else given
        url = row.get(self.url_column) if self.url_column else None
        metadata = {"source": self.source, "license": names or self.license, "origin": origin}
        return metadata | {"url": url}

    def _parquet(self, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
        wanted = {self.text, self.license_column, self.url_column}
        number = 0
        try:
            with pq.ParquetFile(Path(self.folder, file)) as table:
                names = table.schema_arrow.names
                columns = [name for name in names if name in wanted or self.template]
                for batch in table.iter_batches(batch_size=100, columns=columns):
                    for row in batch.to_pylist():
                        yield number, row
                        number += 1
        except (pa.ArrowInvalid, OSError) as error:
            self._aside("unreadable file", f"{file}#{number}", str(error))
        except UnicodeDecodeError:
            self._aside("invalid UTF-8", f"{file}#{number} and what follows")

    def _jsonl(self, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(_lines(self._bytes(file))):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line.decode())
            except UnicodeDecodeError:
                escaped = line.decode(errors="backslashreplace")
                self._aside("invalid UTF-8", f"{file}#{number}", escaped)
            except orjson.JSONDecodeError:
                self._aside("broken line", f"{file}#{number}", line.decode())
            else:
                if isinstance(row, dict):
                    yield number, row
                else:
                    self._aside("broken line", f"{file}#{number}", line.decode())

    def _bytes(self, file: str) -> Iterator[bytes]:
        """The decompressed pieces of a file; b"\\n" where some are missing."""
        with Path(self.folder, file).open("rb") as raw:
            if file.endswith(".gz"):
                yield from self._gunzipped(raw, file)
            elif file.endswith((".zst", ".zstd")):
                try:
                    with pa.CompressedInputStream(raw, "zstd") as stream:
                        while piece := stream.read(_PIECE):
                            yield piece
                except OSError as error:
                    self._aside("damaged file", f"{file}, its rest", str(error))
            else:
                while piece := raw.read(_PIECE):
                    yield piece

    def _gunzipped(self, raw: Any, file: str) -> Iterator[bytes]:
        """Member after member; after a damaged one, whatever looks like the next one."""
        begun: int | None = 0  # where the member at hand begins
        while begun is not None:
            raw.seek(begun)
            member = zlib.decompressobj(31)
            try:
                while not member.eof and (data := raw.read(_PIECE)):
                    yield member.decompress(data)
            except zlib.error as error:
                self._aside("damaged gzip member", f"{file}, member at byte {begun}", str(error))
                yield b"\n"  # ends the line that was cut
                begun = _next_member(raw, begun + 1)
                continue
            if not member.eof:
                self._aside("damaged gzip member", f"{file}, member at byte {begun}", "cut off")
                return
            rest = member.unused_data or raw.read(1)
            begun = raw.tell() - len(rest) if rest.strip(b"\0") else None


@cache
def _compiled(template: str) -> Template:
    """A recipe's template, without access to Python; a missing column is an error."""
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(template)


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


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines of a stream of pieces; the last one need not end in a newline."""
    parts: list[bytes] = []
    for piece in pieces:
        first, newline, rest = piece.partition(b"\n")
        parts.append(first)
        if not newline:
            continue
        yield b"".join(parts)
        *whole, last = rest.split(b"\n")
        yield from whole
        parts = [last]
    yield b"".join(parts)

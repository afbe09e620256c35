"""Files on their way out: whole or in a range, in constant memory."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import anyio
from starlette.responses import FileResponse, MalformedRangeHeader


class StoredFile(FileResponse):
    """A file of `size` bytes: at a path, or its bytes at hand. It was in the commit at `time`."""

    chunk_size = 1 << 20

    def __init__(self, source: Path | bytes, size: int, time: int, headers: dict[str, str]) -> None:
        self._source = source
        status = os.stat_result((0,) * 6 + (size, time, time, time))
        path = source if isinstance(source, Path) else ""
        super().__init__(path, 200, headers, "application/octet-stream", stat_result=status)

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[anyio.AsyncFile[bytes]]:
        if isinstance(self._source, bytes):
            yield anyio.wrap_file(BytesIO(self._source))
        else:
            async with super()._open_file() as file:
                yield file

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        """One range; several, or what is none, mean the whole file."""
        try:
            ranges = super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []
        return ranges if len(ranges) == 1 else []

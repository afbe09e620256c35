"""Headless Chromium, driven by its DevTools through a pipe: it listens nowhere."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

_QUIET = (
    "--headless --no-sandbox --hide-scrollbars --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-pipe"
)


class Browser:
    """One page, without a profile; what goes wrong in it is kept as `events`."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            sys.exit("make look needs Chromium: `apt-get install chromium`, then the same command")
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        self._process = os.posix_spawn(
            program,
            [program, *_QUIET.split(), f"--user-data-dir={folder}"],
            os.environ,
            # Chromium reads its descriptor 3 and writes 4; it logs what a container lacks.
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 3),
                (os.POSIX_SPAWN_DUP2, ours, 4),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.close(theirs)
        os.close(ours)
        self._read, self._calls, self._page = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._page = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol."""
        self._calls += 1
        said = {"id": self._calls, "method": method, "params": parameters}
        said |= {"sessionId": self._page} if self._page else {}
        message = json.dumps(said).encode() + b"\0"
        while message:
            message = message[os.write(self._to, message) :]
        while (answer := self._next()).get("id") != self._calls:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str, width: int = 1280, *, dark: bool = False) -> None:
        """Goes to a page, and waits until all of it is there."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=address)
        while all(event["method"] != "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def picture(self, file: Path, *, before: str = "", scale: float = 1) -> None:
        """The page as a PNG, whole or down to the element of a CSS selector."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        top = f"document.querySelector({before!r}).getBoundingClientRect().top"
        height = self.value(top) if before else size["height"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": scale}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        file.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Ends it."""
        self._page = ""
        self.call("Browser.close")
        os.waitpid(self._process, 0)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self._from, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

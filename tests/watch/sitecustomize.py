"""Writes every host that a Python process connects to, or looks up, into a file."""

import os
import sys

_LOG = os.environ.get("MOXIN_TEST_CONNECTIONS")


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "unix"
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    with open(str(_LOG), "a") as log:  # noqa: PTH123 (pathlib would be imported into each process)
        log.write(f"{host}\n")


if _LOG:
    sys.addaudithook(_watch)

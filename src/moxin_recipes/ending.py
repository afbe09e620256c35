"""The end of a process that has said all: at once, after every other handler of `atexit`.

An interpreter takes 1.3 seconds to take down what torch and the trainers have loaded, and a ladder
starts a process a stage. Handlers run last registered first, so ours is registered before the
libraries are imported: trackers and process groups end as always, and then nothing is left to do.
"""

import atexit
import os
import sys

_CODE: list[int] = []


def be_ready() -> None:
    """Registers the handler; call it before the libraries are imported."""
    atexit.register(_leave)


def with_code(code: int) -> None:
    """Says that this process ends by itself, with this exit code; otherwise it ends as always."""
    _CODE[:] = [code]


def _leave() -> None:
    if _CODE:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_CODE[0])

"""`python -m moxin_hub [serve|fsck|gc] --root DIR`: the one server of a root, and its care."""

import argparse
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import IO

import uvicorn

from moxin_hub import maintenance
from moxin_hub.app import App
from moxin_hub.auth import Gate
from moxin_hub.launcher import Identity, answers, identity, read_token, user_name
from moxin_hub.store import Store, is_name

logger = logging.getLogger("moxin_hub")
_PATIENCE = 30.0  # seconds for another server of this root to end


def main() -> int:
    """Serves until SIGTERM or SIGINT; 0 if that happened, or if another server has this root.

    `fsck` and `gc` say what they found or took away; 1 if anything is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m moxin_hub", description="A Hugging Face Hub in a folder, on 127.0.0.1."
    )
    parser.add_argument("action", nargs="?", choices=["serve", "fsck", "gc"], default="serve")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--user", help="whose Hub this is; kept in ROOT/user")
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    os.umask(0o077)
    # uvicorn sends the signal that ended it once more when it is done: that is no failure.
    ended = 0 if options.action == "serve" else 130
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(ended))
    if options.action != "serve":
        return _maintain(options.action, options.root)
    who = identity(options.root, options.port)
    if options.user is not None:
        if not is_name(options.user):
            parser.error("--user: letters, digits, '-', '_' and '.', as in a repository's id")
        user_name(who.root, options.user)
    with (who.root / "server.lock").open("a") as lock:
        if not _acquire(lock, who):
            logger.info("another server has %s", who.root)
            return 0
        return _serve(who)


def _maintain(action: str, root: Path) -> int:
    try:
        report = maintenance.fsck(root) if action == "fsck" else maintenance.gc(root)
    except RuntimeError as error:  # a damaged repository, beside which nothing is collected
        sys.exit(f"error: {error}")
    sys.stdout.write(str(report))
    return int(isinstance(report, maintenance.Fsck) and bool(report.problems))


def _serve(who: Identity) -> int:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", who.port))
    except OSError as error:
        logger.error("port %d, named in %s: %s", who.port, who.root / "port", error.strerror)
        return 1
    store = Store(who.root)
    store.recover()
    config = uvicorn.Config(
        App(store, Gate(who.token, read_token(who.root))),
        log_config=None,
        access_log=False,  # it would log the query, and with it signatures
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        backlog=512,
    )
    # uvicorn would announce each request's errors itself; the application has logged them.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logger.info("%s at %s", who.root, who.endpoint)
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _acquire(lock: IO[str], who: Identity) -> bool:
    """Takes the root's lock, waiting for a server that is just ending; False if one is running."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if answers(who) or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        else:
            return True


if __name__ == "__main__":
    sys.exit(main())

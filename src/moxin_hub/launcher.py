"""Who the local Hub of a folder is, and how to have it running.

Standard library only, and cheap to import: it runs before any Hugging Face library is imported.
"""

import atexit
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from moxin_hub import durable

ALIVE_ROUTE = "/api/local/alive"
PAGE_ROUTE = "/-/open"
PAGE_SECONDS = 600  # in which a page's address can be opened, once
# Below the range from which Linux takes the ports of outgoing connections (32768 and up), so that
# the port of a stopped Hub is still free when it comes back.
_PORTS = range(20000, 32000)
_START_SECONDS = 60.0
_LARGEST_LOG = 16 << 20  # bytes; beyond it the next start begins another, and keeps one old one


@dataclass(frozen=True)
class Identity:
    """One local Hub: the folder that holds it, its port on 127.0.0.1, and its write token."""

    root: Path
    port: int
    token: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def identity(root: Path, port: int | None = None) -> Identity:
    """Read ROOT/port and ROOT/token, making what is missing; any number of processes may call it.

    A given `port` replaces the one on file. Other users cannot open the folder (0700, tokens 0600).

    Raises:
        RuntimeError: a file is there but does not hold what it should.
    """
    root = Path(root).expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    token = _once(root / "token", _new_token)
    if port is not None:
        _put(root / "port", str(port))
    text = _once(root / "port", lambda: str(_free_port()))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise RuntimeError(f"{root / 'port'} does not hold a port number; delete it to get another")
    if not token:
        raise RuntimeError(f"{root / 'token'} is empty; delete it to get another")
    return Identity(root, int(text), token)


def read_token(root: Path) -> str:
    """The token in ROOT/token-read, which may read private repositories and write nothing."""
    return _once(root / "token-read", _new_token)


def user_name(root: Path, name: str | None = None) -> str:
    """Whose Hub this is: the name in ROOT/user, or "local"; a given `name` is put on file."""
    file = Path(root) / "user"
    if name is not None:
        _put(file, name)
    with contextlib.suppress(FileNotFoundError):
        return file.read_text().strip()
    return "local"


def signature(token: str, purpose: str, text: str) -> str:
    """What only a holder of the token can make of a text; for another purpose it is another."""
    return hmac.new(token.encode(), f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def sign(token: str, purpose: str, fields: Mapping[str, str | int], seconds: int) -> str:
    """The query of an address: these fields, when they expire, and a signature over them all."""
    query = urlencode({**fields, "expires": int(time.time()) + seconds})
    return f"{query}&signature={signature(token, purpose, query)}"


def page_address(who: Identity) -> str:
    """An address for a browser: for ten minutes, and once, it opens a session that sees all."""
    query = sign(who.token, "page", {"key": secrets.token_hex(12)}, PAGE_SECONDS)
    return f"{who.endpoint}{PAGE_ROUTE}?{query}"


def answers(who: Identity) -> bool:
    """Whether a server for this very root answers on its port; the token is not sent."""
    return _pid(who) is not None


def ensure(who: Identity) -> subprocess.Popen[bytes] | None:
    """Start the server unless one already answers, and wait until it does.

    Returns the process if this call started it (it ends with the caller), else None.

    Raises:
        RuntimeError: another program holds the port, or the server did not come up in a minute.
    """
    if answers(who):
        return None
    child, pid = _spawn(who), None
    try:
        pid = _first_answer(who, child)
    finally:
        if pid != child.pid:  # after an interrupt, above all: nobody else would end the child
            _stop(child, os.getpid())
    if pid is None:
        raise RuntimeError(_why_not(who))
    if pid != child.pid:
        return None  # somebody else was faster
    atexit.register(_stop, child, os.getpid())
    return child


def _first_answer(who: Identity, child: subprocess.Popen[bytes]) -> int | None:
    """The process that answers for the root, None if the child ends or time is up before."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (pid := _pid(who)) is not None:
            return pid
        if child.poll() is not None:  # it leaves when another server has just begun to answer
            return _pid(who)
        time.sleep(0.05)
    return None


def _pid(who: Identity, timeout: float = 2.0) -> int | None:
    nonce = secrets.token_hex(16)
    connection = http.client.HTTPConnection("127.0.0.1", who.port, timeout=timeout)
    try:
        connection.request("GET", f"{ALIVE_ROUTE}?nonce={nonce}")
        answer = json.loads(connection.getresponse().read(4096))
        if hmac.compare_digest(str(answer["proof"]), signature(who.token, "alive", nonce)):
            return int(answer["pid"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        pass  # nobody, or a program that is no Hub
    finally:
        connection.close()
    return None


def maintain(action: str, root: Path) -> int:
    """Runs `fsck` or `gc` on a root, beside its server if it has one; returns the exit code.

    What it says goes to this process's standard output and standard error.
    """
    return subprocess.run(_command(action, root), env=_environment(), check=False).returncode


def _command(action: str, root: Path) -> list[str]:
    return [sys.executable, "-m", str(__package__), action, "--root", str(root)]


def _environment() -> dict[str, str]:
    """The child finds this package even where it is only on this process's sys.path."""
    source = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _spawn(who: Identity) -> subprocess.Popen[bytes]:
    log_file = who.root / "server.log"
    if log_file.exists() and log_file.stat().st_size > _LARGEST_LOG:
        log_file.replace(log_file.with_suffix(".log.old"))
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [*_command("serve", who.root), "--port", str(who.port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,  # a signal to the stage's process group is not meant for it
        )


def _stop(child: subprocess.Popen[bytes], starter: int) -> None:
    if os.getpid() != starter or child.poll() is not None:
        return  # a fork of the starter must not end it
    child.terminate()
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _why_not(who: Identity) -> str:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", who.port)) == 0
    if taken:
        return (
            f"port {who.port}, named in {who.root / 'port'}, is used by another program. "
            "Stop that program, or delete this file so that the local Hub takes another port."
        )
    return f"the local Hub did not start; {who.root / 'server.log'} says why"


def _once(path: Path, make: Callable[[], str]) -> str:
    """The content of `path`, made by `make()` if missing; of several makers the first one wins."""
    if not path.exists():
        draft = durable.temporary_name(path.parent)
        _put(draft, make())
        try:
            os.link(draft, path)  # unlike a rename, it fails where another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def _put(path: Path, text: str) -> None:
    """Puts a line into a file; on a full disk too, if it is there already."""
    if not path.exists() or path.read_text().strip() != text:
        durable.write(path, f"{text}\n".encode())


def _new_token() -> str:
    return "hf_" + secrets.token_hex(17)


def _free_port() -> int:
    for _ in range(1000):
        port = random.SystemRandom().choice(_PORTS)
        with contextlib.closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000 on 127.0.0.1")

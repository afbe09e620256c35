"""Starting the Hub: any number of processes, one identity, one server."""

from __future__ import annotations

import ast
import http.server
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from running_hub import Hub

from moxin_hub import launcher

_IDENTITY = """
import sys
from pathlib import Path
from moxin_hub import launcher
who = launcher.identity(Path(sys.argv[1]))
print(who.port, who.token)
"""
_ENSURE = """
import sys
from pathlib import Path
from moxin_hub import launcher
child = launcher.ensure(launcher.identity(Path(sys.argv[1])))
print("started" if child else "found", flush=True)
sys.stdin.readline()
"""


def _processes(script: str, root: Path, count: int) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]


def _end(who: launcher.Identity) -> None:
    """Ends the server of a root, which must be there."""
    pid = launcher._pid(who, 30.0)
    assert pid
    os.kill(pid, signal.SIGTERM)


def test_racing_processes_make_one_identity(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "hub"
    answers = {process.communicate()[0] for process in _processes(_IDENTITY, root, 6)}
    assert len(answers) == 1
    assert {path.name for path in root.iterdir()} == {"port", "token"}


def test_secrets_are_closed_to_others(tmp_path: Path) -> None:
    who = launcher.identity(tmp_path / "hub")
    launcher.read_token(who.root)
    assert who.root.stat().st_mode & 0o777 == 0o700
    for name in ("token", "token-read", "port"):
        assert (who.root / name).stat().st_mode & 0o777 == 0o600
    assert who.token not in repr(who)
    assert launcher.identity(who.root, port=23456).port == 23456
    assert launcher.identity(who.root).port == 23456


def test_racing_starters_end_with_one_server(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    starters = _processes(_ENSURE, root, 4)
    said = [process.stdout.readline().strip() for process in starters if process.stdout]
    assert sorted(said) == ["found", "found", "found", "started"]
    who = launcher.identity(root)
    assert launcher.answers(who)
    # The others leave, the server stays; its starter leaves, and it ends.
    for process in sorted(starters, key=lambda process: said[starters.index(process)]):
        assert launcher.answers(who)
        process.communicate("\n")
    assert not launcher.answers(who)


def test_a_server_left_behind_is_used_again(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    [starter] = _processes(_ENSURE, root, 1)
    assert starter.stdout is not None
    assert starter.stdout.readline().strip() == "started"
    starter.kill()
    # The pipe ends: the server does not hold its starter's output open.
    assert starter.communicate()[0] == ""
    who = launcher.identity(root)
    assert launcher.answers(who)
    assert launcher.ensure(who) is None
    _end(who)


def test_a_signal_to_the_starters_group_spares_the_server(tmp_path: Path) -> None:
    root = tmp_path / "hub"
    starter = subprocess.Popen(
        [sys.executable, "-c", _ENSURE, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline().strip() == b"started"
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    who = launcher.identity(root)
    assert launcher.answers(who)
    _end(who)


def test_a_new_server_takes_over_from_one_that_ends(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub")
    for _ in range(3):
        hub.start()
        assert hub.process is not None
        hub.process.terminate()  # and at once:
        old = hub.process
        new = launcher.ensure(hub.who)
        assert old.wait(30) == 0
        if new is None:  # the old one still answered
            new = launcher.ensure(hub.who)
        assert new is not None
        assert launcher._pid(hub.who, 30.0) == new.pid
        new.kill()
        new.wait()


def test_a_foreign_program_on_the_port_is_named(tmp_path: Path) -> None:
    who = launcher.identity(tmp_path / "hub")
    foreign = http.server.HTTPServer(("127.0.0.1", who.port), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=foreign.serve_forever, daemon=True)
    thread.start()
    try:
        assert not launcher.answers(who)
        with pytest.raises(RuntimeError, match=r"used by another program.*delete") as caught:
            launcher.ensure(who)
        assert str(who.root / "port") in str(caught.value)
    finally:
        foreign.shutdown()
        foreign.server_close()
    (who.root / "port").write_text("no number\n")
    with pytest.raises(RuntimeError, match="port number"):
        launcher.identity(who.root)


def test_an_interrupted_start_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = launcher.identity(tmp_path / "hub")
    spawned: list[subprocess.Popen[bytes]] = []
    spawn = launcher._spawn

    def remember(who: launcher.Identity) -> subprocess.Popen[bytes]:
        spawned.append(spawn(who))
        return spawned[0]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "_spawn", remember)
    monkeypatch.setattr(launcher, "_first_answer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launcher.ensure(who)
    assert spawned[0].poll() is not None
    assert not launcher.answers(who)


def test_two_roots_do_not_mistake_each_other(fresh_hub: Hub, tmp_path: Path) -> None:
    other = launcher.identity(tmp_path / "other", port=fresh_hub.who.port)
    assert not launcher.answers(other)
    with pytest.raises(RuntimeError, match="used by another program"):
        launcher.ensure(other)


def test_the_launcher_is_cheap_and_plain() -> None:
    script = (
        "import sys, moxin_hub.launcher as launcher;"
        "print([name for name in sys.modules if name.split('.')[0] in"
        " ('dulwich', 'starlette', 'uvicorn', 'huggingface_hub', 'torch', 'asyncio')])"
    )
    environment = {**os.environ, "MOXIN_HUB": "http://127.0.0.1:9"}
    output = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_the_two_packages_know_nothing_of_each_other_but_the_launcher() -> None:
    source = Path(launcher.__file__).parents[1]
    for path in (source / "moxin_hub").rglob("*.py"):
        assert "moxin_recipes" not in path.read_text(), path
    for path in (source / "moxin_recipes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            hubs = [name.split(".") for name in names if name.split(".")[0] == "moxin_hub"]
            assert all(parts[1:2] == ["launcher"] for parts in hubs), path

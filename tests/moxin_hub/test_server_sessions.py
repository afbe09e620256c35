"""Who sees private repositories in a browser: whoever opened the address that was printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running_hub import Hub
from shelf import browse, fill

from moxin_hub import auth, launcher
from moxin_hub.errors import HubError


@pytest.fixture(scope="module")
def shelf(hub: Hub) -> Hub:
    fill(hub.api())
    return hub


def _session(hub: Hub) -> str:
    """The Cookie header of a browser in which the printed address was opened."""
    parts = urlsplit(launcher.page_address(hub.who))
    status, headers, _ = browse(hub, f"{parts.path}?{parts.query}")
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
    [(name, morsel)] = SimpleCookie(headers["set-cookie"]).items()
    return f"{name}={morsel.value}"


def _query(hub: Hub) -> str:
    """The query of an address as it is printed."""
    return launcher.sign(hub.who.token, "page", {"key": os.urandom(4).hex()}, auth.PAGE_SECONDS)


def test_private_repositories_show_in_a_session_only(shelf: Hub) -> None:
    paths = ["/nano/moxin-nano-sft", "/nano/moxin-nano-sft/tree/main",
             "/nano/moxin-nano-sft/resolve/main/config.json"]  # fmt: skip
    for path in paths:
        status, _, page = browse(shelf, path)
        nowhere = browse(shelf, path.replace("-sft", "-none"))
        assert (status, page) == (nowhere[0], nowhere[2])
        assert (status, "moxin hub serve" in page) == (401, True)
    cookie = _session(shelf)
    for path in ["/", *paths]:
        status, _, page = browse(shelf, path, Cookie=cookie)
        assert status == 200
    assert "moxin-nano-sft" in browse(shelf, "/", Cookie=cookie)[2]
    # A session looks at pages and files; the API, and every change, still want a token.
    for method, path in (
        ("GET", "/api/models/nano/moxin-nano-sft"), ("GET", "/api/whoami-v2"),
        ("POST", "/nano/moxin-nano-sft.git/info/lfs/objects/batch"), ("POST", "/api/repos/create"),
        ("DELETE", "/api/repos/delete"), ("PUT", "/api/models/nano/moxin-nano-base/settings"),
    ):  # fmt: skip
        assert shelf.request(method, path, b"{}", {"Cookie": cookie}, token=None)[0] == 401
    name, _, value = cookie.partition("=")
    _, _, signature = value.rpartition("=")
    later = value.replace("expires=", "expires=9")
    other = launcher.sign("x", "session", {}, 60)
    page = launcher.sign(shelf.who.token, "page", {}, 60)
    for forged in (
        *(value[:-1], later, f"&signature={signature}", "é&signature=", "&signature=", ""),
        *(other, page),
    ):
        assert browse(shelf, paths[0], Cookie=f"{name}={forged}")[0] == 401


def test_a_printed_address_opens_once(shelf: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(launcher.page_address(shelf.who))
    target = f"{parts.path}?{parts.query}"
    cookie = _session(shelf).partition("=")[2]
    assert browse(shelf, target)[0] == 303
    status, headers, _ = browse(shelf, target)
    assert (status, "set-cookie" in headers) == (403, False)
    soon = f"key=0&expires={int(time.time()) + 60}"
    for forged in (
        *("", "key=a", "%C3%A9&signature=%C3%A9", f"{soon}&signature={'0' * 64}", soon, cookie),
        *("&signature=", f"{soon}&signature=", _query(shelf) + "&key=again"),
    ):
        assert browse(shelf, f"/-/open?{forged}")[0] == 403
    log = shelf.log
    assert "/-/open" in log
    assert parts.query.rpartition("=")[2] not in log
    assert cookie not in log
    monkeypatch.setattr(launcher, "PAGE_SECONDS", -1)
    late = urlsplit(launcher.page_address(shelf.who))
    assert browse(shelf, f"{late.path}?{late.query}")[0] == 403
    # A session ends, too.
    monkeypatch.setattr(auth, "_SESSION_SECONDS", -1)
    gate = auth.Gate(shelf.who.token, shelf.reader)
    name, value = gate.open_session(_query(shelf))
    assert browse(shelf, "/nano/moxin-nano-sft", Cookie=f"{name}={value}")[0] == 401


def test_an_address_from_before_a_restart_does_not_open(
    shelf: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new server cannot know which were opened before."""
    gate, query = auth.Gate(shelf.who.token, shelf.reader), _query(shelf)
    gate.open_session(query)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2)
    restarted = auth.Gate(shelf.who.token, shelf.reader)
    with pytest.raises(HubError, match="opened before"):
        restarted.open_session(query)
    restarted.open_session(_query(shelf))


def test_the_command_prints_an_address_that_opens(fresh_hub: Hub, tmp_path: Path) -> None:
    """`moxin hub add … --as gpt2`, then `moxin hub serve` where a server runs already."""
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MOXIN_"))}
    environment = {**keep, "MOXIN_HOME": str(tmp_path / "home")}

    def moxin(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("moxin")), "hub", *words]
        command += ["--root", str(fresh_hub.root)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=300
        )

    added = moxin("add", str(tmp_path / "vocab.txt"), "--as", "gpt2").stdout
    assert added == f"gpt2@{fresh_hub.api().model_info('gpt2').sha}\n"
    said = moxin("serve").stderr
    [address] = re.findall(r"http://\S+/-/open\?key=\S+", said)
    assert "running already" in said
    parts = urlsplit(address)
    status, headers, _ = browse(fresh_hub, f"{parts.path}?{parts.query}")
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert 'href="/_/gpt2"' in browse(fresh_hub, "/", Cookie=cookie)[2]
    for path in ("/_/gpt2", "/gpt2", "/gpt2/tree/main"):
        assert "vocab.txt" in browse(fresh_hub, path, Cookie=cookie)[2]
        assert browse(fresh_hub, path)[0] == 401

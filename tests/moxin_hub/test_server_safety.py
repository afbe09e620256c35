"""Hostile clients: nothing outside the root, no private byte, no 500, no token in the log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from running_hub import Hub

from moxin_hub import app, attributes

_SECRET = b"a very private sentence"
_REPO = "moxin-org/secret"

_HEADER = b'{"key": "header", "value": {"summary": "s"}}\n'


@pytest.fixture(scope="module")
def private(hub: Hub) -> Hub:
    api = hub.api()
    for repo, is_private in ((_REPO, True), ("moxin-org/open", False)):
        api.create_repo(repo, private=is_private)
        for name in ("plain.txt", "big.bin"):
            content = _SECRET if is_private else b"public"
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    return hub


def _probes(repo: str) -> list[tuple[str, str]]:
    """A request to each route that names a repository."""
    api = f"/api/models/{repo}"
    return [
        ("GET", api),
        ("GET", f"{api}/revision/main"),
        ("GET", f"{api}/tree/main"),
        ("GET", f"{api}/refs"),
        ("GET", f"{api}/commits/main"),
        ("GET", f"{api}/auth-check"),
        ("GET", f"{api}/auth-check/write"),
        ("POST", f"{api}/paths-info/main"),
        ("POST", f"{api}/branch/b"),
        ("DELETE", f"{api}/branch/b"),
        ("POST", f"{api}/tag/main"),
        ("DELETE", f"{api}/tag/t"),
        ("PUT", f"{api}/settings"),
        ("POST", f"{api}/preupload/main"),
        ("POST", f"{api}/commit/main"),
        ("POST", f"/{repo}.git/info/lfs/objects/batch"),
        ("GET", f"/{repo}/resolve/main/plain.txt"),
        ("GET", f"/{repo}"),
        ("GET", f"/{repo}/tree/main"),
        ("GET", f"/{repo}/commit/main"),
        ("GET", f"/{repo}/blob/main/plain.txt"),
        ("HEAD", f"/{repo}/resolve/main/big.bin"),
        ("GET", f"/{repo}/resolve/main/big.bin"),
        *(
            (method, f"{api}/{left_out}")
            for left_out in ("discussions", "super-squash/main", "lfs-files", "user-access-request")
            for method in ("GET", "POST", "PUT", "DELETE")
        ),
    ]


def test_private_repositories_are_closed_on_every_route(private: Hub) -> None:
    routes = [r for table in app.TABLES for r in table.routes if "repo" in r.pattern.groupindex]
    assert len(routes) > 20
    for route in routes:
        method = {"GET": ("GET", "HEAD")}.get(route.method, (route.method,))
        assert any(m in method and route.pattern.fullmatch(p) for m, p in _probes(_REPO)), route
    missing = _probes("moxin-org/no-such-repository")
    for (method, path), (_, nowhere) in zip(_probes(_REPO), missing, strict=True):
        status, headers, body = private.request(method, path, b"{}", token=None)
        assert (status, headers["X-Error-Code"]) == (401, "RepoNotFound"), path
        assert _SECRET not in body
        # A stranger cannot tell a private repository from none at all.
        other_status, _, other_body = private.request(method, nowhere, b"{}", token=None)
        assert (other_status, other_body) == (status, body)
        status, _, body = private.request(method, path, b"{}", token="hf_wrong")
        assert status == 401
        assert _SECRET not in body
    with pytest.raises(RepositoryNotFoundError):
        private.api(False).model_info(_REPO)
    listed = private.request("GET", "/api/models", token=None)[2]
    assert b"secret" not in listed
    assert b"moxin-org/open" in listed
    reader = private.api(private.reader)
    assert reader.model_info(_REPO).private
    assert (
        _SECRET in private.request("GET", f"/{_REPO}/resolve/main/big.bin", token=private.reader)[2]
    )


def test_a_reader_writes_nothing_anywhere(private: Hub) -> None:
    before = private.api().model_info(_REPO).sha
    writing = [(m, p) for m, p in _probes(_REPO) if m in ("POST", "PUT", "DELETE")]
    writing += [("POST", "/api/repos/create"), ("POST", "/api/repos/move")]
    writing += [("DELETE", "/api/repos/delete")]
    body = json.dumps({"name": "made-by-reader", "fromRepo": _REPO, "toRepo": "x/y"}).encode()
    for method, path in writing:
        if "paths-info" in path:
            continue  # a question, though it is POSTed
        assert private.request(method, path, body, token=private.reader)[0] == 403, path
        if "/api/repos/" in path:
            assert private.request(method, path, body, token=None)[0] == 401, path
    assert private.api().model_info(_REPO).sha == before


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../x",
            "..\\x",
            "a/../../x",
            "/etc/passwd",
            "./x",
            "a/./b",
            "a//b",
            "a/",
            "",
            ".git/config",
        ),
        *(
            "a/.GIT/x",
            "nul\0",
            "tab\tx",
            "line\nx",
            "\x7f",
            "é" * 200,
            "x/" * 3000,
            "x/" * 700 + "x",
        ),
    ],
)
def test_hostile_paths_are_refused(private: Hub, path: str) -> None:
    api = private.api()
    before = api.model_info("moxin-org/open").sha
    for operation in (
        {"key": "file", "value": {"path": path, "content": "eA=="}},
        {"key": "deletedFile", "value": {"path": path}},
        {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": "0" * 64}},
    ):
        lines = [{"key": "header", "value": {"summary": "s"}}, operation]
        body = "\n".join(json.dumps(line) for line in lines).encode()
        status, _, answer = private.request("POST", "/api/models/moxin-org/open/commit/main", body)
        assert status == 422, answer
    file = {"files": [{"path": path, "size": 1, "sample": ""}]}
    url = "/api/models/moxin-org/open/preupload/main"
    assert private.request("POST", url, json.dumps(file).encode())[0] == 422
    raw = quote(path.encode(errors="surrogatepass"), safe="/.")
    for prefix in ("/moxin-org/open/resolve/main/", "/moxin-org/open/resolve/main/%2e%2e/"):
        assert private.request("GET", prefix + raw)[0] in (400, 404)
    assert api.model_info("moxin-org/open").sha == before


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "a/..", "../a", "a/b/c", "-a", "a.git", "a--b", "a..b", "x" * 97, "é", "a b"),
        *("datasets/x", "api/x", "", "a/", "a\0", "%2e%2e/%2e%2e"),
    ],
)
def test_hostile_names_are_refused(private: Hub, name: str) -> None:
    before = sorted(private.root.rglob("*.git"))
    body = json.dumps({"name": name, "type": "model"}).encode()
    assert private.request("POST", "/api/repos/create", body)[0] == 400
    move = json.dumps({"fromRepo": "moxin-org/open", "toRepo": name, "type": "model"}).encode()
    assert private.request("POST", "/api/repos/move", move)[0] == 400
    assert private.request("GET", f"/api/models/{quote(name, safe='')}/x")[0] in (400, 404)
    assert sorted(private.root.rglob("*.git")) == before


def test_foreign_hosts_are_refused(private: Hub) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "169.254.169.254", "localhost:1:2", ""):
        status, _, _ = private.request("GET", "/api/models", headers={"Host": host})
        assert status == 403
    assert private.request("GET", "/api/models", headers={"Host": "localhost"})[0] == 200
    assert private.ask(b"GET /api/models HTTP/1.0\r\n\r\n")[9:12] == b"403"
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f":{private.who.port:04X}"
    mine = [line.split()[1] for line in listening if line.split()[1].endswith(port)]
    assert {address for address in mine if address.startswith("0")} == {"0100007F" + port}


def test_limits(private: Hub) -> None:
    commit = "/api/models/moxin-org/open/commit/main"
    line = b'{"key": "header", "value": {"summary": "' + b"x" * (15 << 20)
    assert private.request("POST", commit, line)[0] == 413
    assert private.request("POST", "/api/repos/create", b" " * (5 << 20))[0] == 413
    many = {"files": [{"path": "x", "size": 1}] * 1001}
    url = "/api/models/moxin-org/open/preupload/main"
    assert private.request("POST", url, json.dumps(many).encode())[0] == 400
    assert private.request("POST", "/api/repos/create", b"[" * 100_000)[0] == 400
    for body in (
        *(b"", b"\n\n", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b'{"key": 1, "value": 2}'),
        b'{"key": "header", "value": {"summary": 5}}',
        b'{"key": "file", "value": {"path": "x", "content": ""}}',
        _HEADER + b'{"key": "rm", "value": {"path": "x"}}',
        _HEADER + b'{"key": "file", "value": {"path": "x", "content": "!!"}}',
    ):
        assert private.request("POST", commit, body)[0] == 400, body


def test_a_pattern_that_is_made_to_be_slow_ends() -> None:
    rules = attributes.Rules(b"*a" * 40 + b"b filter=lfs\n*.log filter=lfs\n*.log !filter", b"")
    assert not rules.is_big("a" * 250, 5, b"x")
    assert not rules.is_big("x.log", 5, b"x")
    for slow in (b"*a" * 5 + b"b\n", b"*a*a*a/" * 4 + b"b\n", b"**/a" * 9 + b"b\n"):
        ignoring = attributes.Rules(b"", slow + b"*.log\n")
        assert not ignoring.is_ignored("a" * 250)
        assert not ignoring.is_ignored("/".join(["a" * 60] * 4))
        assert ignoring.is_ignored("x.log")


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        ("out/", "out/deep/x z/out/x", "out outer/x"),
        ("/a/*/", "a/b/c a/b/c/d", "a/b b/a/c/d"),
        ("/x.txt/*/\n!**/ab/b", "x.txt/a/b", "x.txt/a x.txt/ab"),
        ("*.log\n!keep.log", "a.log b/c.log", "keep.log b/keep.log"),
        ("docs/**/*.tmp", "docs/x.tmp docs/a/b/x.tmp", "x.tmp a/docs/x.tmp"),
    ],
)
def test_what_git_ignores_is_ignored(patterns: str, ignored: str, kept: str) -> None:
    rules = attributes.Rules(b"", patterns.encode())
    assert [path for path in ignored.split() if not rules.is_ignored(path)] == []
    assert [path for path in kept.split() if rules.is_ignored(path)] == []


def test_no_token_in_the_log(private: Hub) -> None:
    private.request("GET", f"/{_REPO}/resolve/main/plain.txt?token={private.who.token}")
    private.request("GET", "/api/whoami-v2", token="hf_wrong_but_secret")
    api = private.api()
    api.upload_file(path_or_fileobj=b"\0logged", path_in_repo="l.bin", repo_id="moxin-org/open")
    log = private.log
    for secret in (private.who.token, private.reader, "hf_wrong_but_secret", "signature"):
        assert secret not in log
    assert re.search(r"PUT '/lfs/upload' 200", log)


def test_private_in_the_words_of_older_clients_is_private(hub: Hub) -> None:
    body = json.dumps({"name": "old-words", "organization": "local", "private": True}).encode()
    status, *_ = hub.request("POST", "/api/repos/create", body=body)
    assert status == 200
    assert hub.request("GET", "/api/models/local/old-words", token=None)[0] == 401
    opened = json.dumps({"private": False}).encode()
    assert hub.request("PUT", "/api/models/local/old-words/settings", body=opened)[0] == 200
    assert hub.request("GET", "/api/models/local/old-words", token=None)[0] == 200

"""Hostile clients: nothing outside the root, no private byte, no 500, no token in the log."""

from __future__ import annotations

import json
import random
import re
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub.errors import RepositoryNotFoundError
from running_hub import Hub

from moxin_recipes.hub.server import routes_files, routes_git, routes_repos

_SECRET = b"a very private sentence"
_REPO = "moxin-org/secret"

_HEADER = b'{"key": "header", "value": {"summary": "s"}}\n'
# What the fuzzer puts into paths and tokens, and what it sends as bodies.
_WORDS = [
    "..",
    "%2e%2e",
    "%2F",
    "%00",
    "%ff",
    "%",
    "//",
    "\\",
    "refs%2Fpr%2F1",
    "main",
    "~",
    "*",
    "?",
    "#",
    ";",
    "%0d%0a",
    "moxin-org",
    "secret",
    "HEAD",
    "@{0}",
    "é",
    "token",
    "hub.json",
    "objects",
    ".git",
    "-1",
    "99999999999999999999",
    "x" * 5000,
    "0" * 40,
]
_BODIES = [
    *(b"", b"{}", b"[]", b"null", b"\x00" * 100, b"{" * 3000, b"paths=..&paths=%00&expand=maybe"),
    *(b'{"name": "../x"}', b'{"files": [{"path": 1}]}', b'{"tag": "\\ud800"}'),
    *(b'{"message": {"a": 1}}', b'{"startingPoint": "\\ud800"}', b'{"visibility": "\\ud800"}'),
    *(b'{"operation": "upload", "objects": [{"oid": 1}]}', _HEADER + b'{"key": "file"}'),
]


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
        ("GET", f"{api}/discussions"),
        ("GET", f"{api}/discussions/1"),
        ("POST", f"{api}/discussions"),
        ("POST", f"{api}/paths-info/main"),
        ("POST", f"{api}/branch/b"),
        ("DELETE", f"{api}/branch/b"),
        ("POST", f"{api}/tag/main"),
        ("DELETE", f"{api}/tag/t"),
        ("POST", f"{api}/super-squash/main"),
        ("PUT", f"{api}/settings"),
        ("POST", f"{api}/preupload/main"),
        ("POST", f"{api}/commit/main"),
        ("POST", f"/{repo}.git/info/lfs/objects/batch"),
        ("GET", f"/{repo}/resolve/main/plain.txt"),
        ("GET", f"/{repo}/resolve/refs/pr/1/plain.txt"),
        ("HEAD", f"/{repo}/resolve/main/big.bin"),
        ("GET", f"/{repo}/resolve/main/big.bin"),
    ]


def test_private_repositories_are_closed_on_every_route(private: Hub) -> None:
    tables = (routes_repos.router, routes_git.router, routes_files.router)
    routes = [r for table in tables for r in table.routes if "repo" in r.pattern.groupindex]
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
        *("../x", "a/../../x", "/etc/passwd", "./x", "a/./b", "a//b", "a/", "", ".git/config"),
        *("a/.GIT/x", "nul\0", "tab\tx", "line\nx", "\x7f", "é" * 200, "x/" * 3000, "\ud800"),
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
        assert status == 400, answer
    file = {"files": [{"path": path, "size": 1, "sample": ""}]}
    url = "/api/models/moxin-org/open/preupload/main"
    assert private.request("POST", url, json.dumps(file).encode())[0] == 400
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
    assert _ask(private, b"GET /api/models HTTP/1.0\r\n\r\n")[9:12] == b"403"
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


def test_a_thousand_hostile_requests(private: Hub, tmp_path: Path) -> None:
    dice = random.Random(11)
    outside = {path.name for path in private.root.parent.iterdir()}
    secrets = {name: (private.root / name).read_bytes() for name in ("token", "token-read", "port")}
    head = private.api().model_info(_REPO).sha
    counted = 0
    for _ in range(1000):
        method, path = dice.choice(_probes(dice.choice([_REPO, "moxin-org/open"])))
        parts = path.split("/")
        for _ in range(dice.randrange(3)):
            parts[dice.randrange(1, len(parts))] = dice.choice(_WORDS)
        if dice.random() < 0.2:
            parts.insert(dice.randrange(1, len(parts) + 1), dice.choice(_WORDS))
        query = dice.choice(["", "?", "?recursive=x&limit=-1&cursor=%ff", "?expand=1&after=../..",
                             "?blobs=1&expand=sha&expand=\xff", "?create_pr=1"])  # fmt: skip
        method = dice.choice([method, method, "GET", "POST", "PUT", "DELETE", "PATCH", "BREW"])
        body = dice.choice(_BODIES)
        headers = [
            f"Host: {dice.choice(['127.0.0.1', '127.0.0.1', 'localhost', 'evil', ''])}",
            f"Content-Length: {len(body) + dice.choice([0] * 9 + [5, 10**12, -1])}",
            dice.choice(["X: y", "Range: bytes=9-", "Content-Type: application/json", "X: \xff"]),
        ]
        if dice.random() < 0.6 and _REPO.partition("/")[2] not in path:
            token = private.who.token if dice.random() < 0.8 else dice.choice(_WORDS)
            headers.append(f"Authorization: Bearer {token}")
        start = f"{method} {'/'.join(parts)}{query} HTTP/1.1"
        request = "\r\n".join([start, *headers, "Connection: close", "", ""])
        answer = _ask(private, request.encode("utf-8") + body)
        assert _SECRET not in answer
        assert private.who.token.encode() not in answer
        if answer:
            status = int(answer[9:12])
            assert status < 500 or status == 501, (request[:500], answer[:500])
            counted += 1
    assert counted > 800
    assert private.process is not None
    assert private.process.poll() is None
    assert private.api().model_info(_REPO).sha == head
    assert {path.name for path in private.root.parent.iterdir()} == outside
    assert {name: (private.root / name).read_bytes() for name in secrets} == secrets
    assert "Traceback" not in private.log


def test_no_token_in_the_log(private: Hub) -> None:
    private.request("GET", f"/{_REPO}/resolve/main/plain.txt?token={private.who.token}")
    private.request("GET", "/api/whoami-v2", token="hf_wrong_but_secret")
    api = private.api()
    api.upload_file(path_or_fileobj=b"\0logged", path_in_repo="l.bin", repo_id="moxin-org/open")
    log = private.log
    for secret in (private.who.token, private.reader, "hf_wrong_but_secret", "signature"):
        assert secret not in log
    assert re.search(r"PUT '/lfs/upload' 200", log)


def _ask(hub: Hub, request: bytes) -> bytes:
    """Sends bytes and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", hub.who.port), timeout=20) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionError:
            return b""
    return answer

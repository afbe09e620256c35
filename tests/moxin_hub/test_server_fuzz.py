"""A thousand hostile requests: no 500, nothing outside the root touched, no private byte served."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from running_hub import Hub

_SECRET = b"a very private sentence"
_OUTSIDE = b"what lies beside the root"
_PRIVATE, _OPEN = "moxin-org/secret", "moxin-org/open"
_HEADER = b'{"key": "header", "value": {"summary": "s"}}\n'
_EACH = 125  # requests of each class of attack; eight classes
_ROUTES = [
    *("/api/models/{}", "/api/models/{}/revision/main", "/api/models/{}/tree/main/a"),
    *("/api/models/{}/refs", "/api/models/{}/commits/main", "/api/models/{}/discussions/1"),
    *("/{}/resolve/main/plain.txt", "/{}/resolve/main/big.bin", "/{}/resolve/refs/pr/1/big.bin"),
    *("/{}", "/{}/tree/main", "/{}/commit/main", "/{}/blob/main/plain.txt", "/", "/-/open"),
]
_WRITES = [
    *("/api/models/{}/commit/main", "/api/models/{}/preupload/main", "/api/models/{}/branch/b"),
    *("/api/models/{}/tag/main", "/api/models/{}/super-squash/b", "/api/models/{}/paths-info/main"),
    *("/{}.git/info/lfs/objects/batch", "/api/models/{}/discussions", "/api/validate-yaml"),
    *("/api/models/{}/discussions/1/comment", "/api/models/{}/discussions/1/merge"),
    *("/api/repos/create", "/lfs/complete?id=x&oid=y&size=z"),
]
_WORDS = [
    *("..", ".", "...", "~", "*", "?", "#", ";", "\\", "//", "-", "-1", "--", "@{0}", "HEAD", "é"),
    *(".git", "hub.json", "objects", "token", "server.log", "lfs", "trash", "datasets", "spaces"),
    *("refs", "refs%2Fpr%2F1", "main", "x" * 5000, "0" * 40, "9" * 30, "outside.txt", "%"),
]
_ENCODED = [
    *("%2e%2e", "%2E%2e%2f", "%252e%252e%252f", "..%2f..%2f..%2foutside.txt", "%2F", "%5c..%5c"),
    *(
        "%c0%ae%c0%ae%c0%af",
        "%ff%fe",
        "%00",
        "%0d%0a",
        "%0aX-Evil:%201",
        "%zz",
        "%u002e",
        "%ed%a0%80",
    ),
    *("..%00.txt", "%e2%80%ae", "%7f", "%2e%2e%2f" * 20 + "etc%2fpasswd"),
]
_BODIES = [
    *(b"", b"{}", b"[]", b"null", b"\x00" * 100, b"{" * 3000, b"[" * 100_000, b"\xff\xfe{}"),
    *(b'{"name": "../x"}', b'{"name": 1}', b'{"files": [{"path": 1}]}', b'{"tag": "\\ud800"}'),
    *(b'{"message": {"a": 1}}', b'{"startingPoint": "\\ud800"}', b'{"visibility": "\\ud800"}'),
    *(b'{"comment": null}', b'{"content": "---\\na: [[[[{{\\n---"}', b'{"title": []}'),
    *(b'{"operation": "upload", "objects": [{"oid": 1}]}', b"paths=..&paths=%00&expand=maybe"),
    b'{"operation": "upload", "objects": [{"oid": "../../../outside.txt", "size": 1}]}',
    b'{"operation": "upload", "objects": [{"oid": "' + b"0" * 64 + b'", "size": 1e999}]}',
    b'{"files": [{"path": "..", "size": -1, "sample": "!"}]}',
]  # fmt: skip
_LINES = [
    *(b"null\n", b"[]\n", b'{"key": "header"}\n', b'{"key": "file", "value": 1}\n', b"\n" * 5000),
    *(_HEADER * 1000, b"{" * 50_000 + b"\n", _HEADER + b"[" * 200_000 + b"\n", b"{}\n" * 999),
    _HEADER + b'{"key": "file", "value": {"path": "../../outside.txt", "content": "eA=="}}\n',
    _HEADER + b'{"key": "file", "value": {"path": "/etc/x", "content": "eA=="}}\n',
    _HEADER + b'{"key": "file", "value": {"path": "a", "content": "!!", "encoding": "utf-16"}}\n',
    _HEADER + b'{"key": "lfsFile", "value": {"path": "a", "oid": "../../../token", "size": 1}}\n',
    _HEADER + b'{"key": "deletedFolder", "value": {"path": "."}}\n',
    _HEADER + b'{"key": "deletedFile", "value": {"path": "' + b"a/" * 3000 + b'"}}\n',
    b'{"key": "header", "value": {"summary": "' + b"x" * (15 << 20),
]  # fmt: skip
_RANGES = [
    *("bytes=99-", "bytes=-0", "bytes=--1", "bytes=0-0,1-1", "bytes=99999999999999999999-"),
    *("bytes=5-1", "bytes=0-" + "9" * 400, "chars=0-1", "bytes=\u0663-", "bytes=0x1-0x2"),
]  # fmt: skip


class _Attacks:
    """One method a class of attack; each returns the bytes of a request, cut short or whole."""

    def __init__(self, hub: Hub) -> None:
        self.dice = random.Random(11)
        self.whole = True  # whether the last request ends where it says
        self.hub = hub
        self.tokens = [
            hub.who.token[:-1],
            hub.who.token.upper(),
            "",
            "é",
            "null",
            "x" * 9000,
            "a b",
        ]

    def paths(self) -> bytes:
        return self._get(self._twist(self._route(_ROUTES), _WORDS))

    def encodings(self) -> bytes:
        return self._get(self._twist(self._route(_ROUTES), _ENCODED))

    def headers(self) -> bytes:
        evil = [
            *("Host: evil.example", "Host: 127.0.0.1.evil", "Host:", "Host: [::1]", "X: \xff\x01"),
            *("Content-Length: -1", "Content-Length: 1e9", "Transfer-Encoding: é", ":", "X"),
            *("Cookie: moxin-hub-0=a.b.c; é=1", "Accept: text/html", "If-Range: \xff"),
            *("X-Forwarded-Host: evil", "Expect: \x00", "Upgrade: websocket", "X: " + "y" * 9000),
        ]  # fmt: skip
        return self._get(self._route(_ROUTES + _WRITES), self.dice.sample(evil, 2))

    def bodies(self) -> bytes:
        body, route = self.dice.choice(_BODIES), self.dice.choice(_WRITES)
        missing = self.dice.choice([0, 0, 0, 0, 1, 1 << 40])  # announced, and never sent
        self.whole = missing == 0
        return self._post(route, body, missing)

    def tokens_(self) -> bytes:
        scheme = self.dice.choice(["Bearer", "bearer", "Basic", "", "Bearer Bearer"])
        header = f"Authorization: {scheme} {self.dice.choice(self.tokens)}"
        route = self._route(_ROUTES + _WRITES)
        return self._request(self.dice.choice(["GET", "POST", "DELETE", "PUT"]), route, [header])

    def lines(self) -> bytes:
        body = self.dice.choice(_LINES)
        if self.dice.random() < 0.5 and len(body) > 20:
            body = body[: self.dice.randrange(20, min(len(body), 4000))]
        return self._post("/api/models/{}/commit/main", body, 0)

    def ranges(self) -> bytes:
        name = self.dice.choice(["plain.txt", "big.bin"])
        return self._get(f"/{_OPEN}/resolve/main/{name}", [f"Range: {self.dice.choice(_RANGES)}"])

    def signatures(self) -> bytes:
        fields = {
            "id": "0" * 32,
            "oid": "0" * 64,
            "size": "1",
            "expires": "99999999999",
            "part": "1",
        }
        fields["signature"] = self.dice.choice(["0" * 64, "", "é", "%00", "x" * 5000])
        fields[self.dice.choice(list(fields))] = self.dice.choice(_ENCODED + _WORDS)
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        key = ".".join(self.dice.sample(["", "a", "é", "9" * 20, "-1", "0" * 64], 3))
        method, target = self.dice.choice(
            [("PUT", f"/lfs/upload?{query}"), ("POST", f"/lfs/complete?{query}"),
             ("GET", f"/-/open?key={key}"), ("GET", f"/-/open?{query}")]
        )  # fmt: skip
        return self._request(method, target, [f"Cookie: moxin-hub-0={key}"], b"x")

    def _route(self, routes: list[str]) -> str:
        return self.dice.choice(routes).format(self.dice.choice([_PRIVATE, _OPEN]))

    def _twist(self, path: str, words: list[str]) -> str:
        parts = path.split("/")
        for _ in range(self.dice.randrange(1, 4)):
            place = self.dice.randrange(1, len(parts))
            parts[place : place + self.dice.randrange(2)] = [self.dice.choice(words)]
        query = [
            "",
            "?",
            "?recursive=x&limit=-1&cursor=%ff",
            "?blobs=1&expand=\xff",
            "?create_pr=1",
        ]
        return "/".join(parts) + self.dice.choice(
            [*query, "?revision=..%2f..&expand=1&after=../.."]
        )

    def _get(self, path: str, headers: list[str] | None = None) -> bytes:
        method = self.dice.choice(["GET", "GET", "GET", "HEAD", "DELETE", "PATCH", "BREW"])
        return self._request(method, path, headers or [])

    def _post(self, route: str, body: bytes, missing: int) -> bytes:
        """With the write token, so never of the secret: its holder may read that anyway."""
        headers = [f"Authorization: Bearer {self.hub.who.token}"]
        headers += [f"Content-Length: {len(body) + missing}"]
        return self._request("POST", route.format(_OPEN), headers, body)

    def _request(self, method: str, path: str, headers: list[str], body: bytes = b"") -> bytes:
        names = {header.partition(":")[0] for header in headers}
        headers = [*headers, *(["Host: 127.0.0.1"] if "Host" not in names else [])]
        if body and "Content-Length" not in names:
            headers.append(f"Content-Length: {len(body)}")
        head = [f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", ""]
        return "\r\n".join(head).encode() + body


def _outside(hub: Hub) -> dict[str, tuple[int, int]]:
    """Everything beside the root: names, times and sizes."""
    beside = [path for path in hub.root.parent.rglob("*") if hub.root not in (path, *path.parents)]
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in beside}


def test_a_thousand_hostile_requests(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub").start()
    api = hub.api()
    for repo, is_private in ((_PRIVATE, True), (_OPEN, False)):
        api.create_repo(repo, private=is_private)
        for name in ("plain.txt", "big.bin"):
            content = _SECRET if is_private else b"public bytes"
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    (tmp_path / "outside.txt").write_bytes(_OUTSIDE)
    kept = {name: (hub.root / name).read_bytes() for name in ("token", "token-read", "port")}
    before, head = _outside(hub), api.model_info(_PRIVATE).sha
    attacks, statuses = _Attacks(hub), Counter[int]()
    classes: list[Callable[[], bytes]] = [
        *(attacks.paths, attacks.encodings, attacks.headers, attacks.bodies),
        *(attacks.tokens_, attacks.lines, attacks.ranges, attacks.signatures),
    ]
    forbidden = [
        _SECRET,
        _OUTSIDE,
        b"root:x:0",
        *(kept[name].strip() for name in kept if "t" in name[:1]),
    ]
    for _ in range(_EACH):
        for attack in classes:
            attacks.whole = True
            request = attack()
            answer = hub.ask(request, attacks.whole)
            assert not [leak for leak in forbidden if leak in answer], request[:500]
            if answer:
                statuses[int(answer[9:12])] += 1
                assert int(answer[9:12]) < 500, (request[:500], answer[:500])
    # Bodies that end before they should get no answer.
    assert sum(statuses.values()) > 0.9 * _EACH * len(classes)
    # (413 as well, but a client that is still sending may find the connection closed instead.)
    assert {200, 400, 401, 403, 404, 416, 422} <= set(statuses), statuses
    assert hub.process is not None
    assert hub.process.poll() is None
    assert "Traceback" not in hub.log
    assert _outside(hub) == before
    assert {name: (hub.root / name).read_bytes() for name in kept} == kept
    info = api.model_info(_PRIVATE)
    assert (info.sha, info.private) == (head, True)
    assert hub.request("GET", f"/{_PRIVATE}/resolve/main/big.bin")[2] == _SECRET
    assert json.loads(hub.request("GET", "/api/whoami-v2")[2])["name"] == "local"
    assert hub.stop() == 0

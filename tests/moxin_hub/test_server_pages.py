"""The pages over real HTTP: what they show, to whom, and that no card can do harm.

How they look is not tested here: `make look` draws them for somebody to look at.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from running_hub import Hub

from moxin_hub import auth, launcher, lineage, markup, pages
from moxin_hub.errors import HubError
from moxin_hub.maintenance import fsck, gc

_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_HOSTILE = """---
license: mit
---
# Hostile <script>alert(1)</script>
<img src=x onerror=alert(2)> <iframe src="http://evil.example"></iframe>
[a](javascript:alert(3)) [b](data:text/html,x) [c](//evil.example/x) [d](/api/whoami-v2)
[e](../../../token) [f](http://good.example/x) [g](docs/read&me.md "t\\"x")
![h](http://evil.example/track.png) ![i](plots/loss.png) <javascript:alert(4)>
[k](%2e%2e/.%2E/api/whoami-v2) [l](http:/api/whoami-v2) [m](https:api/whoami-v2)
[j]: vbscript:x
[j] `<b>` &lt;script&gt; {0} {}

| left | right |
|---|--:|
| <u>1</u> | 2 |
"""


_METRIC = "longer_split_accuracy_of_answers_in_the_form_that_was_asked_for_without_a_space"


def _manifest(stage: str, parents: list[dict[str, str]]) -> dict[str, Any]:
    """What the pages read of a manifest as stages write it."""
    metrics = {"accuracy": 0.95833, _METRIC: 0.0102}
    return {
        **{"stage": stage, "recipe_name": f"30-{stage}", "parents": parents, "metrics": metrics},
        **{"seconds": 47.3, "tokens": 421_388},
    }


def _fill(api: HfApi) -> None:
    """A corpus, a base model with checkpoints and tags, what was made of it, and a foreign set."""
    parents: list[dict[str, str]] = []
    for name, stage, kind in (
        ("nano/moxin-nano-tokens", "data", "dataset"),
        ("nano/moxin-nano-base", "pretrain", "model"),
        ("nano/moxin-nano-sft", "sft", "model"),
        ("openai/gsm8k", "", "dataset"),
    ):
        api.create_repo(name, repo_type=kind, private=stage == "sft")
        files: dict[str, bytes] = {"data/train-00000-of-00001.parquet": bytes(2_345_678)}
        if kind == "model":
            files = {"model.safetensors": bytes(7_654_321), "config.json": b"{}\n" * 30}
        if stage:
            files["moxin.json"] = json.dumps(_manifest(stage, parents)).encode()
            files["README.md"] = f"---\nlicense: mit\n---\n# {name}\n\n## Scores\n".encode()
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        commit = api.create_commit(
            name, operations, repo_type=kind, commit_message=f"moxin: {stage or 'Added'}"
        )
        parents.append({"key": stage, "repo": name, "type": kind, "commit": str(commit.oid)})
    api.create_branch("nano/moxin-nano-base", branch="pretrain-2k-step-000100")
    for tag in ("pretrain-2k", "done-5f3c5f3c5f3c"):
        api.create_tag("nano/moxin-nano-base", tag=tag)


@pytest.fixture(scope="module")
def shelf(hub: Hub) -> Hub:
    _fill(hub.api())
    return hub


def _get(hub: Hub, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """As a browser without a token asks."""
    status, got, body = hub.request("GET", path, headers={**_BROWSER, **headers}, token=None)
    return status, dict(got), body.decode()


def _session(hub: Hub) -> str:
    """The Cookie header of a browser in which the printed address was opened."""
    parts = urlsplit(launcher.page_address(hub.who))
    status, headers, _ = _get(hub, f"{parts.path}?{parts.query}")
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
    [(name, morsel)] = SimpleCookie(headers["set-cookie"]).items()
    return f"{name}={morsel.value}"


def test_the_list_of_repositories(shelf: Hub) -> None:
    status, headers, page = _get(shelf, "/")
    assert status == 200
    assert page.index("nano/moxin-nano-base") < page.index("nano/moxin-nano-tokens")
    assert 'href="/datasets/openai/gsm8k"' in page
    assert "7.7 MB" in page
    assert "moxin-nano-sft" not in page  # private
    assert "script" not in page
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    addresses = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(address.startswith("/") and address[1:2] != "/" for address in addresses)
    status, headers, style = _get(shelf, "/-/style.css")
    assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_a_repository(shelf: Hub) -> None:
    api = shelf.api()
    name = "nano/moxin-nano-base"
    sha = str(api.model_info(name).sha)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="later.txt", repo_id=name)
    status, _, page = _get(shelf, f"/{name}")
    assert status == 200
    for text in ("<dt>stage</dt><dd>pretrain</dd>", "<dd>0.9583</dd>", "<dd>421,388</dd>", "47.3",
                 "pretrain-2k-step-000100", "done-5f3c5f3c5f3c", "moxin: pretrain", "later.txt",
                 "<h2>Scores</h2>"):  # fmt: skip
        assert text in page
    assert "license" not in page
    parent = api.dataset_info("nano/moxin-nano-tokens").sha
    assert f'href="/datasets/nano/moxin-nano-tokens/tree/{parent}"' in page
    assert f'href="/{name}/resolve/main/config.json"' in page
    for where in (
        *("/tree/pretrain-2k", "?revision=pretrain-2k", f"/tree/{sha}", f"/tree/{sha[:10]}"),
        f"/commit/{sha}",
    ):
        path = f"/{name.upper()}{where}"  # ids are found in any case
        status, _, older = _get(shelf, path)
        assert (status, "config.json" in older, "later.txt" in older) == (200, True, False)
    api.create_branch(name, branch="a/b")
    assert _get(shelf, f"/{name}/tree/a%2Fb")[0] == _get(shelf, f"/{name}/tree/a/b")[0] == 200
    status, headers, _ = _get(shelf, f"/{name}/blob/main/config.json")
    assert (status, headers["location"]) == (303, f"/{name}/resolve/main/config.json")
    status, _, page = _get(shelf, f"/{name}/tree/nowhere%3Cb%3E")
    assert (status, "&lt;b&gt;" in page, "<b>" in page) == (404, True, False)
    assert _get(shelf, "/datasets/openai/gsm8k")[2].count("has no card") == 1
    assert shelf.request("POST", f"/{name}")[0] == 405


def test_what_the_layout_stands_on(shelf: Hub) -> None:
    """Pairs and rows that may wrap, and a style for each class; the rest is for `make look`."""
    page = _get(shelf, "/nano/moxin-nano-base")[2]
    name = _METRIC.replace("_", "_<wbr>")
    assert f"<div><dt>{name}</dt><dd>0.0102</dd></div>" in page
    assert re.search(r'<li><a class="name" href="[^"]+/config.json">config.json</a>\s*<span', page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    style = _get(shelf, "/-/style.css")[2]
    used = set()
    for template in (Path(pages.__file__).parent / "templates").glob("*.html"):
        classes = re.findall(r'class="([^"]+)"', template.read_text())
        used |= {name for names in classes for name in names.split()}
    assert used | {"right", "center"} == set(re.findall(r"\.([a-z][\w-]*)", style))


def test_long_lists_say_how_much_they_leave_out(shelf: Hub) -> None:
    api = shelf.api()
    repo = api.create_repo("moxin-org/long", private=False).repo_id
    files = [CommitOperationAdd(f"many/{number}.txt", b"x") for number in range(1002)]
    api.create_commit(repo, files, commit_message="many")
    for number in range(62):
        api.create_tag(repo, tag=f"tag-{number}")
    page = _get(shelf, f"/{repo}")[2]
    left_out = re.findall(r'<li class="quiet">and (\d+) more</li>', page)
    assert left_out == ["2", "3"]  # tags, and files with .gitattributes


def test_private_repositories_show_in_a_session_only(shelf: Hub) -> None:
    paths = ["/nano/moxin-nano-sft", "/nano/moxin-nano-sft/tree/main",
             "/nano/moxin-nano-sft/resolve/main/config.json"]  # fmt: skip
    for path in paths:
        status, _, page = _get(shelf, path)
        nowhere = _get(shelf, path.replace("-sft", "-none"))
        assert (status, page) == (nowhere[0], nowhere[2])
        assert (status, "moxin hub serve" in page) == (401, True)
    cookie = _session(shelf)
    for path in ["/", *paths]:
        status, _, page = _get(shelf, path, Cookie=cookie)
        assert status == 200
    assert "moxin-nano-sft" in _get(shelf, "/", Cookie=cookie)[2]
    # A session looks at pages and files; the API, and every change, still want a token.
    for method, path in (
        ("GET", "/api/models/nano/moxin-nano-sft"), ("GET", "/api/whoami-v2"),
        ("POST", "/nano/moxin-nano-sft.git/info/lfs/objects/batch"), ("POST", "/api/repos/create"),
        ("DELETE", "/api/repos/delete"), ("PUT", "/api/models/nano/moxin-nano-base/settings"),
    ):  # fmt: skip
        assert shelf.request(method, path, b"{}", {"Cookie": cookie}, token=None)[0] == 401
    name, _, value = cookie.partition("=")
    fields, _, signature = value.rpartition(".")
    later = fields.replace(".", ".9") + "." + signature
    for forged in (value[:-1], later, f".{signature}", "é.", ".", "", launcher.page_key("x", "y")):
        assert _get(shelf, paths[0], Cookie=f"{name}={forged}")[0] == 401


def test_a_printed_address_opens_once(shelf: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(launcher.page_address(shelf.who))
    target = f"{parts.path}?{parts.query}"
    cookie = _session(shelf).partition("=")[2]
    assert _get(shelf, target)[0] == 303
    status, headers, _ = _get(shelf, target)
    assert (status, "set-cookie" in headers) == (403, False)
    soon = int(time.time()) + 60
    for forged in ("", "a.b.c", "%C3%A9.", f"0.{soon}.{'0' * 64}", cookie, "..", f".{soon}."):
        assert _get(shelf, f"/-/open?key={forged}")[0] == 403
    log = shelf.log
    assert "/-/open" in log
    assert parts.query.partition("=")[2] not in log
    assert cookie not in log
    monkeypatch.setattr(launcher, "PAGE_SECONDS", -1)
    late = urlsplit(launcher.page_address(shelf.who))
    assert _get(shelf, f"{late.path}?{late.query}")[0] == 403
    # A session ends, too.
    monkeypatch.setattr(auth, "_SESSION_SECONDS", -1)
    gate = auth.Gate(shelf.who.token, shelf.reader)
    name, value = gate.open_session(_key(shelf))
    assert _get(shelf, "/nano/moxin-nano-sft", Cookie=f"{name}={value}")[0] == 401


def test_an_address_from_before_a_restart_does_not_open(
    shelf: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new server cannot know which were opened before."""
    gate, key = auth.Gate(shelf.who.token, shelf.reader), _key(shelf)
    gate.open_session(key)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2)
    restarted = auth.Gate(shelf.who.token, shelf.reader)
    with pytest.raises(HubError, match="opened before"):
        restarted.open_session(key)
    restarted.open_session(_key(shelf))


def test_a_damaged_repository_does_not_hide_the_others(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    for name in ("sound", "info", "refs"):
        api.create_repo(f"local/{name}", private=False)
    models = fresh_hub.root / "repositories/models/local"
    (models / "info.git/hub.json").write_text("{")
    (models / "refs.git/refs/heads/main").write_text("0" * 39 + "1\n")
    assert [model.id for model in api.list_models()] == ["local/sound"]
    assert api.whoami()["name"]
    status, _, body = _get(fresh_hub, "/")
    assert status == 200
    assert "local/sound" in body
    assert "local/refs" not in body
    assert fresh_hub.log.count("is damaged") >= 2
    problems = "\n".join(fsck(fresh_hub.root).problems)
    assert "info.git/hub.json is damaged" in problems
    assert "local/refs" in problems
    with pytest.raises(RuntimeError, match="damaged"):
        gc(fresh_hub.root)


def _key(hub: Hub) -> str:
    fields = f"0.{int(time.time()) + auth.PAGE_SECONDS}"
    return f"{fields}.{launcher.page_key(hub.who.token, fields)}"


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
    status, headers, _ = _get(fresh_hub, f"{parts.path}?{parts.query}")
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert 'href="/_/gpt2"' in _get(fresh_hub, "/", Cookie=cookie)[2]
    for path in ("/_/gpt2", "/gpt2", "/gpt2/tree/main"):
        assert "vocab.txt" in _get(fresh_hub, path, Cookie=cookie)[2]
        assert _get(fresh_hub, path)[0] == 401


def test_a_hostile_card_is_harmless(shelf: Hub) -> None:
    api = shelf.api()
    repo = api.create_repo("moxin-org/hostile").repo_id
    parents = [
        {"repo": "//evil.example", "commit": 'x" y', "type": "model"},
        {"repo": "javascript:x", "commit": "0" * 40, "type": "model"},
    ]
    about = _manifest("<i>sft</i>", parents)
    about |= {"metrics": {"<b>": "<script>", "deep": {"a": [1]}}, "seconds": "\ud800", "code": 7}
    api.create_commit(
        repo,
        [
            CommitOperationAdd("README.md", _HOSTILE.encode()),
            CommitOperationAdd("moxin.json", json.dumps(about).encode()),
            CommitOperationAdd("a <b>&\"'.txt", b"x"),
        ],
        commit_message="<script>alert(5)</script>\n\nmore",
    )
    status, _, page = _get(shelf, f"/{repo}")
    assert status == 200
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([a-zA-Z]+)", page)}
    assert not tags & {"script", "iframe", "object", "embed", "form", "style", "b", "i", "u", "svg"}
    assert not re.search(r"<[^>]*\s(on\w+|style)\s*=", page)
    where = f"/{repo}/resolve/main"
    for target in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert target in ("#", "http://good.example/x") or target.startswith(
            (f"/{repo}", "/-/style.css")
        ) or target == "/", target  # fmt: skip
    assert f'src="{where}/plots/loss.png"' in page
    assert f'href="{where}/docs/read%26me.md"' in page
    assert 'class="right"' in page
    assert re.search(r"//evil.example\s+<span", page)  # named, and no link


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", "[" * 100_000, '{"stage": 7}', '{"a": NaN}']
)
def test_what_is_no_manifest(text: str) -> None:
    assert lineage.read(text) == {}


def test_only_a_head_at_the_start_is_left_out() -> None:
    rules = "First\n---\none\n\nSecond\n---\ntwo"
    for head in ("", "---\nlicense: mit\n---\n", "\n--- \r\na: 1\r\n---\r\n", "---\n---\n"):
        shown = markup.card(head + rules, "/a/b", "a")
        assert all(word in shown for word in ("First", "one", "Second", "two"))
        assert "license" not in shown


def test_cards_that_are_made_to_be_slow_end() -> None:
    for text in (
        " \n" * 60_000 + "x",
        "[" * 20_000,
        "> " * 5000 + "x",
        "*a " * 20_000,
        "| a " * 5000 + "\n|---",
        "- " * 5000,
    ):
        assert markup.card(text, "/a/b/resolve/main", "a/b")

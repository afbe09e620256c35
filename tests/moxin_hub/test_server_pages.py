"""The pages over real HTTP: what they show, to whom, and that no card can do harm.

How they look is not tested here: `make look` draws them for somebody to look at.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd
from running_hub import Hub
from shelf import browse, fill, manifest

from moxin_hub import lineage, markup, pages
from moxin_hub.maintenance import fsck, gc

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


@pytest.fixture(scope="module")
def shelf(hub: Hub) -> Hub:
    fill(hub.api())
    return hub


def test_the_list_of_repositories(shelf: Hub) -> None:
    status, headers, page = browse(shelf, "/")
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
    status, headers, style = browse(shelf, "/-/style.css")
    assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
    status, headers, icon = browse(shelf, "/-/icon.svg")
    assert (status, headers["content-type"]) == (200, "image/svg+xml")
    assert "href" not in icon
    assert "url(" not in style
    assert "@import" not in style


def test_a_repository(shelf: Hub) -> None:
    api = shelf.api()
    name = "nano/moxin-nano-base"
    sha = str(api.model_info(name).sha)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="later.txt", repo_id=name)
    status, _, page = browse(shelf, f"/{name}")
    assert status == 200
    for text in ("<dt>stage</dt><dd>pretrain</dd>", "<dd>421,388</dd>", "47.3",
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
        status, _, older = browse(shelf, path)
        assert (status, "config.json" in older, "later.txt" in older) == (200, True, False)
    api.create_branch(name, branch="a/b")
    assert browse(shelf, f"/{name}/tree/a%2Fb")[0] == browse(shelf, f"/{name}/tree/a/b")[0] == 200
    status, headers, _ = browse(shelf, f"/{name}/blob/main/config.json")
    assert (status, headers["location"]) == (303, f"/{name}/resolve/main/config.json")
    status, _, page = browse(shelf, f"/{name}/tree/nowhere%3Cb%3E")
    assert (status, "&lt;b&gt;" in page, "<b>" in page) == (404, True, False)
    assert browse(shelf, "/datasets/openai/gsm8k")[2].count("has no card") == 1
    assert shelf.request("POST", f"/{name}")[0] == 405


def test_what_the_layout_stands_on(shelf: Hub) -> None:
    """Pairs and rows that may wrap, and a style for each class; the rest is for `make look`."""
    page = browse(shelf, "/nano/moxin-nano-base")[2]
    assert "<div><dt>recipe</dt><dd>30-pretrain</dd></div>" in page
    assert re.search(r'<li><a class="name" href="[^"]+/config.json">config.json</a>\s*<span', page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    style = browse(shelf, "/-/style.css")[2]
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
    page = browse(shelf, f"/{repo}")[2]
    left_out = re.findall(r'<li class="quiet">and (\d+) more</li>', page)
    assert left_out == ["2", "3"]  # tags, and files with .gitattributes


def test_a_damaged_repository_does_not_hide_the_others(fresh_hub: Hub) -> None:
    api = fresh_hub.api()
    for name in ("sound", "info", "refs"):
        api.create_repo(f"local/{name}", private=False)
    models = fresh_hub.root / "repositories/models/local"
    (models / "info.git/hub.json").write_text("{")
    (models / "refs.git/refs/heads/main").write_text("0" * 39 + "1\n")
    assert [model.id for model in api.list_models()] == ["local/sound"]
    assert api.whoami()["name"]
    status, _, body = browse(fresh_hub, "/")
    assert status == 200
    assert "local/sound" in body
    assert "local/refs" not in body
    assert fresh_hub.log.count("is damaged") >= 2
    problems = "\n".join(fsck(fresh_hub.root).problems)
    assert "info.git/hub.json is damaged" in problems
    assert "local/refs" in problems
    with pytest.raises(RuntimeError, match="damaged"):
        gc(fresh_hub.root)


def test_a_hostile_card_is_harmless(shelf: Hub) -> None:
    api = shelf.api()
    repo = api.create_repo("moxin-org/hostile").repo_id
    parents = [
        {"repo": "//evil.example", "commit": 'x" y', "type": "model"},
        {"repo": "javascript:x", "commit": "0" * 40, "type": "model"},
    ]
    about = manifest("<i>sft</i>", parents)
    about |= {"recipe_name": "<script>", "tokens": {"a": [1]}, "seconds": "\ud800", "code": 7}
    api.create_commit(
        repo,
        [
            CommitOperationAdd("README.md", _HOSTILE.encode()),
            CommitOperationAdd("moxin.json", json.dumps(about).encode()),
            CommitOperationAdd("a <b>&\"'.txt", b"x"),
        ],
        commit_message="<script>alert(5)</script>\n\nmore",
    )
    api.create_branch(repo, branch='"onload="x<script>')
    status, _, page = browse(shelf, f"/{repo}")
    assert status == 200
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([a-zA-Z]+)", page)}
    assert not tags & {"script", "iframe", "object", "embed", "form", "style", "b", "i", "u", "svg"}
    assert not re.search(r"<[^>]*\s(on\w+|style)\s*=", page)
    where = f"/{repo}/resolve/main"
    for target in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert target in ("#", "http://good.example/x") or target.startswith(
            (f"/{repo}", "/-/style.css", "/-/icon.svg")
        ) or target == "/", target  # fmt: skip
    assert "/tree/%22onload%3D%22x%3Cscript%3E" in page
    assert f'src="{where}/plots/loss.png"' in page
    assert f'href="{where}/docs/read%26me.md"' in page
    assert 'class="right"' in page
    assert re.search(r"//evil.example\s+<span", page)  # named, and no link


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", "[" * 100_000, '{"stage": 7}', '{"a": NaN}']
)
def test_what_is_nomanifest(text: str) -> None:
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


_FOLDED = """
before
<details>
<summary>Keys & <codes></summary>
<details>
<summary>Keys & codes</summary>

| a | b |
|---|---|
| 1 | 2 |

</details>
after <details> here

```
</details>
```

> </details>

</details>
<details onclick="x">
<!-- for those who write cards -->
<!-- two
lines -->
- <details>
"""


def test_a_card_folds_parts_of_itself_and_nothing_else() -> None:
    shown = str(markup.card(_FOLDED, "/a/b/resolve/main", "a/b"))
    real = re.findall(r"</?(?:details|summary)[^>]*>", shown)
    folded = ["<details>", "<details>", "<summary>", "</summary>", "</details>", "</details>"]
    assert real == folded
    assert "<summary>Keys &amp; codes</summary>\n<table>" in shown
    for text in (
        "&lt;summary&gt;Keys &amp; &lt;codes&gt;",
        "after &lt;details&gt; here",
        "<pre><code>&lt;/details&gt;",
        "<blockquote>\n<p>&lt;/<wbr>details&gt;",
        "&lt;details onclick",
        "<li>&lt;details&gt;",
        "two",
    ):
        assert text in shown
    assert "for those who write cards" not in shown
    assert "<!--" not in shown


@pytest.mark.parametrize("text", ["</details>", "</details>\n<details>\nx", "<details>\n" * 9])
def test_what_is_folded_is_closed_and_nothing_else(text: str) -> None:
    shown = str(markup.card(text, "/a/b/resolve/main", "a/b"))
    depth = 0
    for part in re.findall(r"</?details>", shown):
        depth += 1 if part == "<details>" else -1
        assert depth >= 0
    assert depth == 0


def test_a_drawing_is_a_picture_that_runs_nothing(shelf: Hub) -> None:
    api = shelf.api()
    repo = api.create_repo("nano/drawn").repo_id
    drawn = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    files = {"README.md": "![words](a/b.svg)", "a/b.svg": drawn, "c.svg.html": drawn}
    added = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
    api.create_commit(repo, added, commit_message="drawn")
    _, _, page = browse(shelf, f"/{repo}")
    assert f'<img src="/{repo}/resolve/main/a/b.svg" alt="words"' in page
    for path, kind in (("a/b.svg", "image/svg+xml"), ("c.svg.html", "application/octet-stream")):
        status, headers, _ = browse(shelf, f"/{repo}/resolve/main/{path}")
        assert (status, headers["content-type"]) == (200, kind)
        policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        assert headers["content-security-policy"] == policy
        assert headers["x-content-type-options"] == "nosniff"

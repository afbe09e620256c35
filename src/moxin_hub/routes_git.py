"""Endpoints that read and change git: trees, paths, history, branches and tags."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, quote

from dulwich.objects import Commit, ObjectID
from starlette.responses import JSONResponse, Response

from moxin_hub import tree
from moxin_hub.auth import Role
from moxin_hub.errors import (
    HubError,
    entry_not_found,
    revision_not_found,
)
from moxin_hub.repository import (
    MAIN,
    Repository,
    check_name,
    committed_at,
    title_and_message,
)
from moxin_hub.web import Call, Router, member, page_link

router = Router()
_PAGE = 1000  # entries of a listing
_PAGE_EXPANDED = 50  # with the last commit of each entry, which costs a walk through history
_COMMITS = 100


@router.add("GET", "/api/{type}/{repo}/tree/{revision}/{path*}")
def list_tree(call: Call) -> Response:
    repository = call.repository
    commit = repository.resolve(call.args["revision"])
    path = call.args["path"].strip("/")
    folder = tree.find(repository.objects, repository.objects.commit(commit).tree, path)
    if not folder.is_folder:
        raise entry_not_found()
    recursive, expand = call.flag("recursive"), call.flag("expand")
    most = _PAGE_EXPANDED if expand else _PAGE
    limit, start = call.number("limit", most, most), call.number("cursor", 0, 1 << 40)
    entries = tree.walk(repository.objects, folder.oid, f"{path}/" if path else "", recursive)
    page = list(islice(entries, start, start + limit + 1))
    more = {}
    if len(page) > limit:
        # The next page names the commit: a push in between changes nothing in this listing.
        where = f"/api/{call.args['type']}/{repository.info.id}/tree/{commit.decode()}"
        where += f"/{quote(path, safe='')}" if path else ""
        query = {"recursive": recursive, "expand": expand, "limit": limit, "cursor": start + limit}
        more = page_link(call, where, query)
    return JSONResponse(_describe(repository, commit, page[:limit], expand), headers=more)


@router.add("POST", "/api/{type}/{repo}/paths-info/{revision}")
def paths_info(call: Call) -> Response:
    repository = call.repository
    commit = repository.resolve(call.args["revision"])
    if call.request.headers.get("content-type", "").startswith("application/json"):
        form = call.json()
        paths, expand = member(form, "paths", list, []), bool(form.get("expand"))
    else:
        fields = parse_qs(call.body.decode(errors="replace"), max_num_fields=10_000)
        paths = fields.get("paths", [])
        expand = fields.get("expand", ["false"])[0].lower() in ("true", "1")
    root = repository.objects.commit(commit).tree
    entries = []
    for path in paths:
        with contextlib.suppress(HubError):  # unknown paths are left out
            path = tree.check_path(str(path).strip("/"))
            entries.append(tree.find(repository.objects, root, path))
    return JSONResponse(_describe(repository, commit, entries, expand))


@router.add("GET", "/api/{type}/{repo}/refs")
def references(call: Call) -> Response:
    """Branches, tags, and what an older Hub left of pull requests."""
    bases = {"branches": "heads", "tags": "tags", "converts": "convert", "pullRequests": "pr"}
    return JSONResponse(
        {
            name: [
                {"name": reference.name, "ref": reference.ref, "targetCommit": reference.commit}
                for reference in call.repository.references(f"refs/{base}/")
            ]
            for name, base in bases.items()
        }
    )


@router.add("GET", "/api/{type}/{repo}/commits/{revision}")
def commits(call: Call) -> Response:
    repository = call.repository
    limit = call.number("limit", _COMMITS, _COMMITS)
    start = repository.resolve(call.query("after") or call.args["revision"])
    page = list(islice(repository.history(start), limit + 1))
    more = {}
    if len(page) > limit:
        where = f"/api/{call.args['type']}/{repository.info.id}/commits/{start.decode()}"
        query: dict[str, str | int] = {"limit": limit, "after": page[limit].id.decode()}
        if call.query("expand[]"):
            query["expand[]"] = "formatted"
        more = page_link(call, where, query)
    formatted = call.query("expand[]") == "formatted"
    return JSONResponse(
        [_commit(commit, formatted, repository.user) for commit in page[:limit]], headers=more
    )


@router.add("POST", "/api/{type}/{repo}/branch/{name*}", Role.WRITE)
def create_branch(call: Call) -> Response:
    repository, body = call.repository, call.json()
    name = check_name(call.args["name"], "branch")
    with call.store.collecting(), repository.lock:
        if member(body, "emptyBranch", bool, False):
            start = list(repository.history(repository.resolve("main")))[-1].id
        else:
            start = repository.resolve(member(body, "startingPoint", str, "main"))
        repository.move(f"refs/heads/{name}", None, start)
    return JSONResponse({}, 201)


@router.add("DELETE", "/api/{type}/{repo}/branch/{name*}", Role.WRITE)
def delete_branch(call: Call) -> Response:
    ref = f"refs/heads/{call.args['name']}"
    if ref == MAIN:
        raise HubError(403, f"Cannot delete {MAIN}")
    with call.repository.lock:
        if not call.repository.delete(ref):
            raise revision_not_found(call.args["name"])
    return JSONResponse({})


@router.add("POST", "/api/{type}/{repo}/tag/{revision*}", Role.WRITE)
def create_tag(call: Call) -> Response:
    repository, body = call.repository, call.json()
    with call.store.collecting(), repository.lock:
        commit = repository.resolve(call.args["revision"])
        name = check_name(member(body, "tag", str), "tag")
        repository.tag(name, commit, member(body, "message", str, "") or None)
    return JSONResponse({}, 201)


@router.add("DELETE", "/api/{type}/{repo}/tag/{name*}", Role.WRITE)
def delete_tag(call: Call) -> Response:
    with call.repository.lock:
        if not call.repository.delete(f"refs/tags/{call.args['name']}"):
            raise revision_not_found(call.args["name"])
    return JSONResponse({})


def _describe(
    repository: Repository, commit: ObjectID, entries: list[tree.Entry], expand: bool
) -> list[dict[str, Any]]:
    last = _last_commits(repository, commit, [entry.path for entry in entries]) if expand else {}
    answer = []
    for entry in entries:
        item: dict[str, Any] = {"type": "directory", "oid": entry.oid.decode(), "size": 0}
        if not entry.is_folder:
            content = repository.objects.content(entry.oid)
            item.update(type="file", size=content.size)
            if content.lfs is not None:
                item["lfs"] = content.about_lfs
        item["path"] = entry.path
        if entry.path in last:
            made = last[entry.path]
            about = {"title": title_and_message(made)[0], "date": committed_at(made)}
            item["lastCommit"] = {"id": made.id.decode(), **about}
        answer.append(item)
    return answer


def _last_commits(repository: Repository, start: ObjectID, paths: list[str]) -> dict[str, Commit]:
    """Path → the newest commit that changed it, following first parents."""
    history = repository.history(start)
    newer = next(history)
    last: dict[str, Commit] = {}
    entries = {path: tree.look(repository.objects, newer.tree, path) for path in paths}
    for commit in history:
        for path, entry in list(entries.items()):
            if tree.look(repository.objects, commit.tree, path) != entry:
                last[path] = newer
                del entries[path]
        if not entries:
            break
        newer = commit
    return last | dict.fromkeys(entries, newer)


def _commit(commit: Commit, formatted: bool, user: str) -> dict[str, Any]:
    title, message = title_and_message(commit)
    author = commit.author.decode(errors="replace").partition(" <")[0] or user
    answer: dict[str, Any] = {
        "id": commit.id.decode(),
        "title": title,
        "message": message,
        "date": committed_at(commit),
        "authors": [{"user": author}],
    }
    if formatted:
        answer["formatted"] = {"title": title, "message": message}
    return answer

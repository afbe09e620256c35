"""Endpoints that read and change git: trees, paths, history, branches and tags."""

import contextlib
from collections.abc import Iterable
from itertools import islice
from typing import Any
from urllib.parse import parse_qs

from dulwich.objects import Commit
from starlette.responses import JSONResponse, Response

from moxin_hub import tree
from moxin_hub.auth import Role
from moxin_hub.errors import HubError, entry_not_found, revision_not_found
from moxin_hub.repository import MAIN, Repository, check_name, committed_at, title_and_message
from moxin_hub.web import Call, Router, member, next_page

router = Router()
_PAGE = 1000  # entries of a listing
_PAGE_EXPANDED = 50  # with the last commit of each entry, which costs a walk through history
_COMMITS = 100
_BASES = {"branches": "heads", "tags": "tags", "converts": "convert", "pullRequests": "pr"}


@router.add("GET", "/api/{type}/{repo}/tree/{revision}/{path*}")
def list_tree(call: Call) -> Response:
    repository, path = call.repository, call.args["path"].strip("/")
    commit = repository.at(call.query("commit") or call.args["revision"])
    folder = tree.find(repository.objects, commit.tree, path)
    if not folder.is_folder:
        raise entry_not_found()
    recursive, expand = call.flag("recursive"), call.flag("expand")
    limit, start = _PAGE_EXPANDED if expand else _PAGE, call.number("cursor")
    entries = tree.walk(repository.objects, folder.oid, f"{path}/" if path else "", recursive)
    page = list(islice(entries, start, start + limit + 1))
    more = {}
    if len(page) > limit:
        # The next page names the commit: a push in between changes nothing in this listing.
        more = next_page(call, commit=commit.id.decode(), cursor=start + limit)
    return JSONResponse(_described(repository, commit, page[:limit], expand), headers=more)


@router.add("POST", "/api/{type}/{repo}/paths-info/{revision}")
def paths_info(call: Call) -> Response:
    repository, commit = call.repository, call.commit
    fields = parse_qs(call.body.decode(errors="replace"), max_num_fields=10_000)
    expand = fields.get("expand", ["false"])[0].lower() in ("true", "1")
    entries = []
    for path in fields.get("paths", []):
        with contextlib.suppress(HubError):  # unknown paths are left out
            known = tree.check_path(path.strip("/"))
            entries.append(tree.find(repository.objects, commit.tree, known))
    return JSONResponse(_described(repository, commit, entries, expand))


@router.add("GET", "/api/{type}/{repo}/refs")
def references(call: Call) -> Response:
    """Branches, tags, and what an older Hub left of pull requests."""

    def listed(base: str) -> list[dict[str, str]]:
        return [
            {"name": reference.name, "ref": reference.ref, "targetCommit": reference.commit}
            for reference in call.repository.references(f"refs/{base}/")
        ]

    return JSONResponse({name: listed(base) for name, base in _BASES.items()})


@router.add("GET", "/api/{type}/{repo}/commits/{revision}")
def commits(call: Call) -> Response:
    repository = call.repository
    start = repository.resolve(call.query("after") or call.args["revision"])
    page = list(islice(repository.history(start), _COMMITS + 1))
    formatted = call.query("expand[]") == "formatted"
    more = next_page(call, after=page[_COMMITS].id.decode()) if len(page) > _COMMITS else {}
    answer = [_commit(commit, formatted, repository.user) for commit in page[:_COMMITS]]
    return JSONResponse(answer, headers=more)


@router.add("POST", "/api/{type}/{repo}/branch/{name*}", Role.WRITE)
def create_branch(call: Call) -> Response:
    repository = call.repository
    name = check_name(call.args["name"])
    with call.store.collecting(), repository.lock:
        start = repository.resolve(member(call.json(), "startingPoint", str, "main"))
        repository.move(f"refs/heads/{name}", None, start)
    return JSONResponse({}, 201)


@router.add("POST", "/api/{type}/{repo}/tag/{revision*}", Role.WRITE)
def create_tag(call: Call) -> Response:
    repository, body = call.repository, call.json()
    with call.store.collecting(), repository.lock:
        commit = repository.resolve(call.args["revision"])
        name = check_name(member(body, "tag", str))
        repository.tag(name, commit, member(body, "message", str, ""))
    return JSONResponse({}, 201)


@router.add("DELETE", "/api/{type}/{repo}/{base}/{name*}", Role.WRITE)
def delete_reference(call: Call) -> Response:
    name = call.args["name"]
    ref = ("refs/heads/" if call.args["base"] == "branch" else "refs/tags/") + name
    if ref == MAIN:
        raise HubError(403, f"Cannot delete {MAIN}")
    with call.repository.lock:
        if not call.repository.delete(ref):
            raise revision_not_found(name)
    return JSONResponse({})


def _described(
    repository: Repository, commit: Commit, entries: list[tree.Entry], expand: bool
) -> list[dict[str, Any]]:
    last = _last_commits(repository, commit, [entry.path for entry in entries]) if expand else {}
    answer = []
    for entry in entries:
        item: dict[str, Any] = {"type": "directory", "oid": entry.oid.decode(), "size": 0}
        if not entry.is_folder:
            content = repository.objects.content(entry.oid)
            item |= {"type": "file", "size": content.size, **content.about_lfs}
        if expand:
            made = last[entry.path]
            about = {"title": title_and_message(made)[0], "date": committed_at(made)}
            item["lastCommit"] = {"id": made.id.decode(), **about}
        answer.append({**item, "path": entry.path})
    return answer


def _last_commits(repository: Repository, start: Commit, paths: Iterable[str]) -> dict[str, Commit]:
    """Path → the newest commit that changed it, following first parents."""
    entries = {path: tree.look(repository.objects, start.tree, path) for path in paths}
    last: dict[str, Commit] = {}
    newer = start
    for commit in islice(repository.history(start.id), 1, None):
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
    answer = {
        "id": commit.id.decode(),
        "title": title,
        "message": message,
        "date": committed_at(commit),
        "authors": [{"user": author}],
    }
    return answer | ({"formatted": {"title": title, "message": message}} if formatted else {})

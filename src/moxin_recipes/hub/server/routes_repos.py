"""Endpoints about repositories as a whole: who am I, create, move, delete, settings, info, list."""

from __future__ import annotations

import os
from typing import Any

from starlette.responses import JSONResponse, Response

from moxin_recipes.hub.server import card, discussions, tree
from moxin_recipes.hub.server.auth import USER, Role
from moxin_recipes.hub.server.errors import HubError, bad_request
from moxin_recipes.hub.server.launcher import ALIVE_ROUTE
from moxin_recipes.hub.server.repository import MAIN, Repository, committed_at
from moxin_recipes.hub.server.store import TYPES
from moxin_recipes.hub.server.web import Call, Router, member, page_link

router = Router()


@router.add("GET", ALIVE_ROUTE)
async def alive(call: Call) -> Response:
    """Proves to whoever knows the token that this is the Hub of its root, without sending it.

    A coroutine: it answers even while every thread is busy.
    """
    nonce = (call.query("nonce") or "")[:64]
    return JSONResponse({"proof": call.gate.proof(nonce), "pid": os.getpid()})


@router.add("GET", "/api/whoami-v2", Role.READ)
def whoami(call: Call) -> Response:
    token = {"displayName": "local", "role": "write" if call.role is Role.WRITE else "read"}
    return JSONResponse(
        {
            "type": "user",
            "id": USER,
            "name": USER,
            "fullname": "the local Hub's user",
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@router.add("POST", "/api/repos/create", Role.WRITE)
def create(call: Call) -> Response:
    body = call.json()
    kind, repo_id = _kind(body), _id_of(body)
    visibility = _visibility(body) or "public"
    sdk = member(body, "sdk", str, "") or None
    try:
        info = call.store.create(kind, repo_id, visibility, sdk).info
    except HubError as error:
        if error.status == 409:  # the client reads the address from this answer as well
            found = call.store.get(kind, repo_id).info
            error.more["url"] = f"{call.endpoint}/{found.prefix}{found.id}"
        raise
    address = f"{call.endpoint}/{info.prefix}{info.id}"
    return JSONResponse({"url": address, "name": info.id, "id": info.key})


@router.add("DELETE", "/api/repos/delete", Role.WRITE)
def delete(call: Call) -> Response:
    body = call.json()
    call.store.delete(call.store.get(_kind(body), _id_of(body)))
    return JSONResponse({})


@router.add("POST", "/api/repos/move", Role.WRITE)
def move(call: Call) -> Response:
    body = call.json()
    source = call.store.get(_kind(body), member(body, "fromRepo", str))
    call.store.move(source, member(body, "toRepo", str))
    return JSONResponse({})


@router.add("PUT", "/api/{type}/{repo}/settings", Role.WRITE)
def settings(call: Call) -> Response:
    body = call.json()
    changes: dict[str, str | bool] = {}
    if (visibility := _visibility(body)) is not None:
        changes["visibility"] = visibility
    if body.get("gated") is not None:
        if body["gated"] not in ("auto", "manual", False):
            raise bad_request("`gated` is auto, manual or false")
        changes["gated"] = body["gated"]
    call.store.update(call.repository, **changes)
    return JSONResponse(changes)


@router.add("GET", "/api/{type}/{repo}/auth-check")
@router.add("GET", "/api/{type}/{repo}/auth-check/write", Role.WRITE)
def may(call: Call) -> Response:
    """Says yes: whoever may not does not come as far as this."""
    return JSONResponse({"id": call.repository.info.id})


@router.add("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Response:
    """Whether the metadata of a card can be read; what it says is the author's business."""
    error = card.fault(member(call.json(), "content", str))
    errors = [{"message": error}] if error else []
    return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)


@router.add("GET", "/api/{type}")
def list_repositories(call: Call) -> Response:
    kind = call.args["type"].removesuffix("s")
    author = (call.query("author") or "").lower()
    search = (call.query("search") or "").lower()
    query = call.request.query_params
    wanted = [*query.getlist("filter"), *query.getlist("pipeline_tag")]
    found = []
    for repository in call.store:
        info = repository.info
        if info.type != kind or (info.is_private and call.role < Role.READ):
            continue
        if author not in ("", info.id.partition("/")[0].lower()) or search not in info.id.lower():
            continue
        summary = _summary(repository)
        if all(tag in summary["tags"] for tag in wanted):
            found.append(summary)
    found.sort(key=lambda summary: summary["lastModified"], reverse=True)
    start, limit = call.number("skip", 0, 1 << 40), call.number("limit", 1000, 1000)
    more = {}
    if start + limit < len(found) and call.query("limit") is None:
        more = page_link(call, f"/api/{call.args['type']}", {"skip": start + limit, "limit": limit})
    return JSONResponse(found[start : start + limit], headers=more)


@router.add("GET", "/api/{type}/{repo}")
@router.add("GET", "/api/{type}/{repo}/revision/{revision}")
def repository_info(call: Call) -> Response:
    repository = call.repository
    head = repository.resolve(call.args.get("revision") or "main")
    answer = _summary(repository, call.args.get("revision") or "main")
    root = repository.objects.commit(head).tree
    siblings: list[dict[str, Any]] = []
    for entry in tree.walk(repository.objects, root, "", recursive=True):
        if entry.is_folder:
            continue
        sibling: dict[str, Any] = {"rfilename": entry.path}
        if call.flag("blobs"):
            content = repository.objects.content(entry.oid)
            sibling.update(size=content.size, blobId=entry.oid.decode())
            if content.lfs is not None:
                pointer = {"pointerSize": content.blob_size}
                sibling["lfs"] = {"sha256": content.lfs, "size": content.size, **pointer}
        siblings.append(sibling)
    answer["siblings"] = siblings
    query = call.request.query_params
    if expand := [*query.getlist("expand"), *query.getlist("expand[]")]:
        always = {"_id", "id", "modelId"}
        answer = {name: value for name, value in answer.items() if name in {*always, *expand}}
    return JSONResponse(answer)


@router.add("GET", "/api/{type}/{repo}/discussions")
def list_discussions(call: Call) -> Response:
    found = discussions.list_all(call.repository)
    if call.query("type") == "discussion" or call.query("status") == "closed":
        found = []
    if call.query("author") not in (None, USER):
        found = []
    return JSONResponse({"discussions": found, "count": len(found), "start": 0})


@router.add("POST", "/api/{type}/{repo}/discussions", Role.WRITE)
def open_discussion(call: Call) -> Response:
    body = call.json()
    if not member(body, "pullRequest", bool, False):
        raise HubError(501, "The local Hub has pull requests, but no discussions")
    title, description = member(body, "title", str), member(body, "description", str, "")
    head = call.repository.resolve("main")
    with call.store.collecting():
        number = discussions.open_pull_request(call.repository, title, description, MAIN, head)
    return JSONResponse({"num": number, "pullRequest": True})


@router.add("GET", "/api/{type}/{repo}/discussions/{number}")
def one_discussion(call: Call) -> Response:
    number = call.args["number"]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise bad_request("A discussion has a number")
    return JSONResponse(discussions.details(call.repository, int(number)))


def _summary(repository: Repository, revision: str = "main") -> dict[str, Any]:
    info = repository.info
    head = repository.resolve(revision)
    commit = repository.objects.commit(head)
    data = card.metadata(repository, commit.tree)
    namespace = info.id.partition("/")[0]
    answer: dict[str, Any] = {
        "_id": info.key,
        "id": info.id,
        "author": namespace,
        "sha": head.decode(),
        "private": info.is_private,
        "visibility": info.visibility,
        "gated": info.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": card.tags(data),
        "lastModified": committed_at(commit),
        "createdAt": info.created,
    }
    if info.type == "model":
        answer["modelId"] = info.id
        for name in ("pipeline_tag", "library_name"):
            if isinstance(data.get(name), str):
                answer[name] = data[name]
        if "model-index" in data:
            answer["model-index"] = data["model-index"]
    if info.type == "space":
        answer["sdk"] = info.sdk
    if data:
        answer["cardData"] = data
    return answer


def _kind(body: dict[str, Any]) -> str:
    kind = member(body, "type", str, "model")
    if kind not in TYPES:
        raise bad_request(f"The local Hub has no repositories of type {kind[:50]!r}")
    return kind


def _id_of(body: dict[str, Any]) -> str:
    """The id that a body's name and organization make; without one it is the user's."""
    name = member(body, "name", str)
    return name if "/" in name else f"{member(body, 'organization', str, USER)}/{name}"


def _visibility(body: dict[str, Any]) -> str | None:
    """The visibility asked for, in the words of today or in those of older clients."""
    if (visibility := member(body, "visibility", str, "")) != "":
        if visibility not in ("public", "private", "protected"):
            raise bad_request("`visibility` is public, private or protected")
        return visibility
    if body.get("private") is not None:
        return "private" if member(body, "private", bool) else "public"
    return None

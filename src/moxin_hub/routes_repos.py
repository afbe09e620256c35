"""Endpoints about repositories as a whole: who am I, create, move, delete, settings, info, list."""

from __future__ import annotations

import os
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from moxin_hub import card, refused, tree
from moxin_hub.auth import Role
from moxin_hub.errors import HubError, bad_request
from moxin_hub.launcher import ALIVE_ROUTE
from moxin_hub.repository import Repository, committed_at
from moxin_hub.store import TYPES
from moxin_hub.web import Call, Router, member, page_link

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
    user = call.store.user
    ids = call.store.sound(lambda repository: repository.info.id)
    others = {name for repo in ids if (name := repo.rpartition("/")[0]) not in ("", user)}
    token = {"displayName": "local", "role": "write" if call.role is Role.WRITE else "read"}
    return JSONResponse(
        {
            "type": "user",
            "id": user,
            "name": user,
            "fullname": user,
            "isPro": False,
            "orgs": [{"type": "org", "name": name, "fullname": name} for name in sorted(others)],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@router.add("POST", "/api/repos/create", Role.WRITE)
def create(call: Call) -> Response:
    body = call.json()
    kind, repo_id = _kind(body), _id_of(body, call.store.user)
    try:
        info = call.store.create(kind, repo_id, _visibility(body) or "public").info
    except HubError as error:
        if error.status == 409:  # the client reads the address from this answer as well
            found = call.store.get(kind, repo_id).info
            error.more["url"] = f"{call.endpoint}/{found.path}"
        raise
    address = f"{call.endpoint}/{info.path}"
    return JSONResponse({"url": address, "name": info.id, "id": info.key})


@router.add("DELETE", "/api/repos/delete", Role.WRITE)
def delete(call: Call) -> Response:
    body = call.json()
    call.store.delete(call.store.get(_kind(body), _id_of(body, call.store.user)))
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
    if body.get("gated"):
        raise refused.refusal(refused.GATING)
    visibility = _visibility(body)
    if visibility is None:
        return JSONResponse({})
    call.store.update(call.repository, visibility=visibility, gated=False)
    return JSONResponse({"visibility": visibility})


@router.add("GET", "/api/{type}/{repo}/auth-check")
@router.add("GET", "/api/{type}/{repo}/auth-check/write", Role.WRITE)
def may(call: Call) -> Response:
    """Says yes: whoever may not does not come as far as this."""
    return JSONResponse({"id": call.repository.info.id})


@router.add("POST", "/api/validate-yaml")
def validate_yaml(call: Call) -> Response:
    """Whether the metadata of a card can be read, and names its licence as the public Hub does."""
    text = member(call.json(), "content", str)
    error = card.fault(text)
    errors = [{"message": f"Error: {error}"}] if error else []
    bare = {"message": "empty or missing yaml metadata in repo card"}
    warnings = [bare] if card.is_bare(text) else []
    status = 400 if errors else 200
    if call.request.headers.get("accept") == "text/plain":  # what RepoCard.validate() asks for
        lines = (f"- {item['message']}\n" for item in errors + warnings)
        return PlainTextResponse("".join(lines), status)
    return JSONResponse({"errors": errors, "warnings": warnings}, status)


@router.add("GET", "/api/{type}")
def list_repositories(call: Call) -> Response:
    kind = call.args["type"].removesuffix("s")
    author = (call.query("author") or "").lower()
    search = (call.query("search") or "").lower()
    query = call.request.query_params
    wanted = [*query.getlist("filter"), *query.getlist("pipeline_tag")]

    def shown(repository: Repository) -> dict[str, Any] | None:
        info = repository.info
        if info.type != kind or (info.is_private and call.role < Role.READ):
            return None
        if author not in ("", info.id.rpartition("/")[0].lower()) or search not in info.id.lower():
            return None
        summary = _summary(repository)
        return summary if all(tag in summary["tags"] for tag in wanted) else None

    found = [summary for summary in call.store.sound(shown) if summary is not None]
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
                sibling["lfs"] = content.about_lfs
        siblings.append(sibling)
    answer["siblings"] = siblings
    query = call.request.query_params
    if expand := [*query.getlist("expand"), *query.getlist("expand[]")]:
        always = {"_id", "id", "modelId"}
        answer = {name: value for name, value in answer.items() if name in {*always, *expand}}
    return JSONResponse(answer)


def _summary(repository: Repository, revision: str = "main") -> dict[str, Any]:
    info = repository.info
    head = repository.resolve(revision)
    commit = repository.objects.commit(head)
    data = card.metadata(repository, commit.tree)
    namespace = info.id.rpartition("/")[0]
    answer: dict[str, Any] = {
        "_id": info.key,
        "id": info.id,
        "author": namespace or None,
        "sha": head.decode(),
        "private": info.is_private,
        "visibility": info.visibility,
        "gated": False,
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
    if data:
        answer["cardData"] = data
    return answer


def _kind(body: dict[str, Any]) -> str:
    kind = member(body, "type", str, "model")
    if kind == "space":
        raise refused.refusal(refused.SPACES)
    if kind not in TYPES:
        raise bad_request(f"The local Hub has no repositories of type {kind[:50]!r}")
    return kind


def _id_of(body: dict[str, Any], user: str) -> str:
    """The id that a body's name and organization make; without one it is the user's."""
    name = member(body, "name", str)
    return name if "/" in name else f"{member(body, 'organization', str, user)}/{name}"


def _visibility(body: dict[str, Any]) -> str | None:
    """The visibility asked for, in the words of today or in those of older clients."""
    if (visibility := member(body, "visibility", str, "")) != "":
        if visibility not in ("public", "private"):
            raise bad_request("`visibility` is public or private")
        return visibility
    if body.get("private") is not None:
        return "private" if member(body, "private", bool) else "public"
    return None

"""Endpoints about repositories as a whole: who am I, create, move, delete, settings, info, list."""

import os
from typing import Any

from dulwich.objects import Commit
from starlette.responses import JSONResponse, PlainTextResponse, Response

from moxin_hub import card, refused, tree
from moxin_hub.auth import Role
from moxin_hub.errors import HubError, bad_request
from moxin_hub.launcher import ALIVE_ROUTE
from moxin_hub.repository import Repository, committed_at
from moxin_hub.store import TYPES
from moxin_hub.web import Call, Router, member

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
    ids = call.store.sound(lambda repository: repository.info.id)
    others = {repo.rpartition("/")[0] for repo in ids} - {"", call.store.user}
    token = {"displayName": "local", "role": "write" if call.role is Role.WRITE else "read"}
    return JSONResponse(
        {
            "type": "user",
            "isPro": False,
            **dict.fromkeys(("id", "name", "fullname"), call.store.user),
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
            error.more["url"] = f"{call.endpoint}/{call.store.get(kind, repo_id).info.path}"
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
    fault, warning = card.fault(text), card.warning(text)
    errors = [{"message": f"Error: {fault}"}] if fault else []
    warnings = [{"message": warning}] if warning else []
    status = 400 if errors else 200
    if call.request.headers.get("accept") == "text/plain":  # what RepoCard.validate() asks for
        lines = (f"- {item['message']}\n" for item in errors + warnings)
        return PlainTextResponse("".join(lines), status)
    return JSONResponse({"errors": errors, "warnings": warnings}, status)


@router.add("GET", "/api/{type}")
def list_repositories(call: Call) -> Response:
    """All that the caller may see and asked for, in one page: the last changed first."""
    query = call.request.query_params
    kind = call.args["type"].removesuffix("s")
    author, search = (query.get(name, "").lower() for name in ("author", "search"))
    wanted = {*query.getlist("filter"), *query.getlist("pipeline_tag")}

    def shown(repository: Repository) -> dict[str, Any] | None:
        info = repository.info
        if info.type != kind or (info.is_private and call.role < Role.READ):
            return None
        namespace = info.id.rpartition("/")[0].lower()
        if author not in ("", namespace) or search not in info.id.lower():
            return None
        summary = _summary(repository, repository.at("main"))
        return summary if wanted <= set(summary["tags"]) else None

    summaries = [summary for summary in call.store.sound(shown) if summary is not None]
    summaries.sort(key=lambda summary: summary["lastModified"], reverse=True)
    return JSONResponse(summaries)


@router.add("GET", "/api/{type}/{repo}")
@router.add("GET", "/api/{type}/{repo}/revision/{revision}")
def repository_info(call: Call) -> Response:
    repository, commit, query = call.repository, call.commit, call.request.query_params
    answer = _summary(repository, commit)
    answer["siblings"] = [
        _sibling(repository, entry, call.flag("blobs"))
        for entry in tree.files(repository.objects, commit.tree)
    ]
    if expand := {*query.getlist("expand"), *query.getlist("expand[]")}:
        expand |= {"_id", "id", "modelId"}
        answer = {name: value for name, value in answer.items() if name in expand}
    return JSONResponse(answer)


def _sibling(repository: Repository, entry: tree.Entry, with_blob: bool) -> dict[str, Any]:
    if not with_blob:
        return {"rfilename": entry.path}
    content = repository.objects.content(entry.oid)
    blob = {"size": content.size, "blobId": entry.oid.decode()}
    return {"rfilename": entry.path, **blob, **content.about_lfs}


def _summary(repository: Repository, commit: Commit) -> dict[str, Any]:
    info = repository.info
    data = card.metadata(repository, commit.tree)
    answer: dict[str, Any] = {
        "_id": info.key,
        "id": info.id,
        "author": info.id.rpartition("/")[0] or None,
        "sha": commit.id.decode(),
        "private": info.is_private,
        "visibility": "private" if info.is_private else "public",
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
        names = ("pipeline_tag", "library_name")
        answer |= {name: data[name] for name in names if isinstance(data.get(name), str)}
        if "model-index" in data:
            answer["model-index"] = data["model-index"]
    return answer | ({"cardData": data} if data else {})


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
    """The visibility asked for, in the words of today or in those of older clients.

    None if a body says nothing of it.
    """
    if body.get("private") is not None:
        return "private" if member(body, "private", bool) else "public"
    visibility = member(body, "visibility", str, "") or None
    if visibility not in ("public", "private", None):
        raise bad_request("`visibility` is public or private")
    return visibility

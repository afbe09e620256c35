"""Endpoints of pull requests and discussions."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from moxin_hub import discussions, merging
from moxin_hub.auth import Role
from moxin_hub.errors import bad_request
from moxin_hub.repository import MAIN
from moxin_hub.web import Call, Router, member

router = Router()
_PAGE = 50


@router.add("GET", "/api/{type}/{repo}/discussions")
def list_discussions(call: Call) -> Response:
    kind, status, author = call.query("type"), call.query("status"), call.query("author")
    found = [
        item
        for item in discussions.list_all(call.repository)
        if kind in (None, "all", "pull_request" if item["isPullRequest"] else "discussion")
        and status in (None, "all", "open" if item["status"] == "open" else "closed")
        and author in (None, item["author"]["name"])
    ]
    start = call.number("p", 0, 1 << 30) * _PAGE
    page = found[start : start + _PAGE]
    return JSONResponse({"discussions": page, "count": len(found), "start": start})


@router.add("POST", "/api/{type}/{repo}/discussions", Role.WRITE)
def open_discussion(call: Call) -> Response:
    body, repository = call.json(), call.repository
    title, description = member(body, "title", str), member(body, "description", str, "")
    is_pull_request = member(body, "pullRequest", bool, False)
    with call.store.collecting():
        if is_pull_request:
            head = repository.resolve("main")
            number = discussions.create(repository, title, description, MAIN, head)
        else:
            number = discussions.create(repository, title, description)
    return JSONResponse({"num": number, "pullRequest": is_pull_request})


@router.add("GET", "/api/{type}/{repo}/discussions/{number}")
def one_discussion(call: Call) -> Response:
    return JSONResponse(discussions.details(call.repository, _number(call)))


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/comment", Role.WRITE)
def comment(call: Call) -> Response:
    text = member(call.json(), "comment", str)
    return JSONResponse({"newMessage": discussions.comment(call.repository, _number(call), text)})


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/comment/{event}/edit", Role.WRITE)
def edit_comment(call: Call) -> Response:
    text = member(call.json(), "content", str)
    event = discussions.edit(call.repository, _number(call), call.args["event"], text)
    return JSONResponse({"updatedComment": event})


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/comment/{event}/hide", Role.WRITE)
def hide_comment(call: Call) -> Response:
    event = discussions.edit(call.repository, _number(call), call.args["event"], None)
    return JSONResponse({"updatedComment": event})


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/title", Role.WRITE)
def rename(call: Call) -> Response:
    title = member(call.json(), "title", str)
    return JSONResponse({"newTitle": discussions.rename(call.repository, _number(call), title)})


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/status", Role.WRITE)
def change_status(call: Call) -> Response:
    body = call.json()
    status, text = member(body, "status", str), member(body, "comment", str, "")
    if status not in ("open", "closed"):
        raise bad_request("`status` is open or closed")
    event = discussions.set_status(call.repository, _number(call), status, text)
    return JSONResponse({"newStatus": event})


@router.add("POST", "/api/{type}/{repo}/discussions/{number}/merge", Role.WRITE)
def merge(call: Call) -> Response:
    text = member(call.json(), "comment", str, "")
    with call.store.collecting():
        return JSONResponse({"oid": merging.merge(call.repository, _number(call), text)})


def _number(call: Call) -> int:
    number = call.args["number"]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise bad_request("A discussion has a number")
    return int(number)

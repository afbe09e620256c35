"""Pull requests and discussions: a number, a record of what was said and done, refs/pr/N."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from dulwich.objects import ObjectID

from moxin_hub import durable
from moxin_hub.errors import HubError
from moxin_hub.repository import Repository, timestamp

Record = dict[str, Any]


def create(
    repository: Repository,
    title: str,
    description: str,
    base: str | None = None,
    head: ObjectID | None = None,
) -> int:
    """Opens a discussion; with `head`, a pull request of that commit against `base`: its number."""
    folder = repository.folder / "discussions"
    with repository.lock:
        durable.make_folders(folder)
        number = 1 + max(_numbers(repository), default=0)
        record: Record = {
            "title": title.strip(),
            "status": "open",
            "base": base,
            "author": repository.user,
            "createdAt": timestamp(time.time()),
            "events": [],
        }
        _comment(repository, record, description)
        _write(repository, number, record)
        if head is not None:
            repository.move(ref_of(number), None, head)
    return number


def read(repository: Repository, number: int) -> Record:
    """The record of a discussion.

    Raises:
        HubError: 404 if there is none of this number.
    """
    try:
        path = repository.folder / "discussions" / f"{number}.json"
        record: Record = json.loads(path.read_text())
    except FileNotFoundError:
        raise HubError(404, f"There is no discussion {number}") from None
    return record


def details(repository: Repository, number: int) -> dict[str, Any]:
    """A discussion as the API shows it."""
    record = read(repository, number)
    answer = {
        "num": number,
        "title": record["title"],
        "author": {"name": record["author"], "type": "user"},
        "createdAt": record["createdAt"],
        "status": record["status"],
        "isPullRequest": record["base"] is not None,
        "repo": {"name": repository.info.id, "type": repository.info.type},
        "events": record["events"],
    }
    if record["base"] is not None:
        answer["changes"] = {"base": record["base"], "mergeCommitId": record.get("mergeCommitId")}
        answer["filesWithConflicts"] = []
    return answer


def list_all(repository: Repository) -> list[dict[str, Any]]:
    """All of a repository, newest first."""
    return [details(repository, number) for number in sorted(_numbers(repository), reverse=True)]


def comment(repository: Repository, number: int, text: str) -> dict[str, Any]:
    """Adds a comment and returns it."""
    with repository.lock:
        record = read(repository, number)
        event = _comment(repository, record, text)
        _write(repository, number, record)
    return event


def edit(repository: Repository, number: int, event_id: str, text: str | None) -> dict[str, Any]:
    """Replaces the text of a comment, or hides it for good (None).

    Raises:
        HubError: 404 if there is no such comment, 403 if it is hidden.
    """
    with repository.lock:
        record = read(repository, number)
        for event in record["events"]:
            if event["type"] == "comment" and event["id"] == event_id:
                if event["data"]["hidden"] and text is not None:
                    raise HubError(403, "This comment is hidden for good")
                event["data"]["hidden"] = text is None
                event["data"]["edited"] = True
                event["data"]["latest"] = {"raw": text or "", "updatedAt": timestamp(time.time())}
                _write(repository, number, record)
                return dict(event)
    raise HubError(404, "There is no such comment")


def rename(repository: Repository, number: int, title: str) -> dict[str, Any]:
    with repository.lock:
        record = read(repository, number)
        event = _add(
            repository, record, "title-change", {"from": record["title"], "to": title.strip()}
        )
        record["title"] = title.strip()
        _write(repository, number, record)
    return event


def set_status(
    repository: Repository, number: int, status: str, text: str = "", merged: str | None = None
) -> dict[str, Any]:
    """Opens, closes or (with the commit that came of it) merges; returns the event."""
    with repository.lock:
        record = read(repository, number)
        if record["status"] == "merged":
            raise HubError(409, "This pull request is merged already")
        if text:
            _comment(repository, record, text)
        event = _add(repository, record, "status-change", {"status": status})
        record["status"] = status
        record["mergeCommitId"] = merged
        _write(repository, number, record)
    return event


def ref_of(number: int) -> str:
    """The reference that a pull request's commits are on."""
    return f"refs/pr/{number}"


def _comment(repository: Repository, record: Record, text: str) -> dict[str, Any]:
    latest = {"raw": text, "updatedAt": timestamp(time.time())}
    data = {"edited": False, "hidden": False, "latest": latest}
    return _add(repository, record, "comment", data)


def _add(repository: Repository, record: Record, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    event = {
        "id": secrets.token_hex(12),
        "type": kind,
        "createdAt": timestamp(time.time()),
        "author": {"name": repository.user, "type": "user"},
        "data": data,
    }
    record["events"].append(event)
    return event


def _numbers(repository: Repository) -> list[int]:
    return [int(path.stem) for path in (repository.folder / "discussions").glob("*.json")]


def _write(repository: Repository, number: int, record: Record) -> None:
    durable.write_json(repository.folder / "discussions" / f"{number}.json", record)

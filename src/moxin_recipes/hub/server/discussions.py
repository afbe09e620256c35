"""Pull requests: a number, a reference refs/pr/N, and a record of who proposed what."""

from __future__ import annotations

import json
import time
from typing import Any

from dulwich.objects import ObjectID

from moxin_recipes.hub.server import durable
from moxin_recipes.hub.server.auth import USER
from moxin_recipes.hub.server.errors import HubError
from moxin_recipes.hub.server.repository import Repository, timestamp


def open_pull_request(
    repository: Repository, title: str, description: str, base: str, head: ObjectID
) -> int:
    """Records a pull request against the reference `base`, with refs/pr/N at `head`: N."""
    folder = repository.folder / "discussions"
    with repository.lock:
        durable.make_folders(folder)
        number = 1 + max((int(path.stem) for path in folder.glob("*.json")), default=0)
        record = {"title": title, "description": description, "base": base}
        record["createdAt"] = timestamp(time.time())
        durable.write_json(folder / f"{number}.json", record)
        repository.move(f"refs/pr/{number}", None, head)
    return number


def details(repository: Repository, number: int) -> dict[str, Any]:
    """A pull request as the API shows it.

    Raises:
        HubError: 404 if there is none of this number.
    """
    try:
        record = json.loads((repository.folder / "discussions" / f"{number}.json").read_text())
    except FileNotFoundError:
        raise HubError(404, f"There is no discussion {number}") from None
    author = {"name": USER, "type": "user"}
    comment = {
        "id": f"{repository.info.key}-{number}",
        "type": "comment",
        "createdAt": record["createdAt"],
        "author": author,
        "data": {
            "edited": False,
            "hidden": False,
            "latest": {"raw": record["description"], "html": "", "updatedAt": record["createdAt"]},
        },
    }
    return {
        "num": number,
        "title": record["title"],
        "author": author,
        "createdAt": record["createdAt"],
        "status": "open",
        "isPullRequest": True,
        "repo": {"name": repository.info.id, "type": repository.info.type},
        "changes": {"base": record["base"]},
        "filesWithConflicts": [],
        "events": [comment],
    }


def list_all(repository: Repository) -> list[dict[str, Any]]:
    """All pull requests, newest first."""
    folder = repository.folder / "discussions"
    numbers = sorted((int(path.stem) for path in folder.glob("*.json")), reverse=True)
    return [details(repository, number) for number in numbers]

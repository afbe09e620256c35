"""A Hub of its own for a replay: the pinned inputs, under their names and revisions.

It runs as a process whose variables name that Hub and no other: `python -m
moxin_recipes.audit.seed PINS.json`, a list of pins, each with the `folder` of its files.
"""

import json
import sys
from pathlib import Path
from typing import Any

from moxin_recipes.hub import session
from moxin_recipes.hub.pull import INCOMING, MIRROR_OF, resolve
from moxin_recipes.hub.session import api
from moxin_recipes.recipe.fields import Reference


def seed(pins: list[dict[str, Any]]) -> None:
    """Pushes the files of each pin, and names them as it does; the payloads are proven."""
    for pin in pins:
        repo, kind, revision = pin["repo"], pin["type"], pin["revision"]
        api().create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        branch = "main" if revision == "main" else INCOMING + pin["commit"]
        if branch != "main":
            api().create_branch(repo, branch=branch, repo_type=kind, exist_ok=True)
        made = api().upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=pin["folder"],
            revision=branch,
            delete_patterns="*",
            commit_message="The input of a replay",
            commit_description=MIRROR_OF + pin["commit"],  # so a pinned commit is found, too
        )
        if revision not in ("main", pin["commit"]):
            api().create_tag(repo, tag=revision, revision=made.oid, repo_type=kind, exist_ok=True)
            api().delete_branch(repo, branch=branch, repo_type=kind)
        found = resolve(Reference(pin["key"], kind, repo, revision)).payload
        if found != pin["payload"]:
            sys.exit(f"error: `{pin['key']}`: {repo}@{revision} came with payload {found[:19]}")


def main() -> None:
    """The command line."""
    session.start()
    seed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()

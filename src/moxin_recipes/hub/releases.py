"""Releases: what they pin stays where it is."""

import json

from moxin_recipes.hub.pull import commit_of, read_text
from moxin_recipes.hub.session import HubError, api, errors, namespace, qualified

INDEX = "release.json"
TAG = "release"  # of cards: the stage that made them


def prove_unpinned(outputs: dict[str, tuple[str, str]], tag: str, done: str) -> None:
    """HubError if a stage, made again, would move its tag away from a commit that a release pins.

    `outputs` has its repositories and their types by the recipe's keys. `done` is the tag of a
    result of this very recipe and these inputs: another result leaves that one its own.
    """
    pins: dict[str, str] | None = None
    for key, (name, repo_type) in outputs.items():
        repo = qualified(name)
        commit = commit_of(repo, repo_type, tag)
        if commit is None or commit_of(repo, repo_type, done) != commit:
            continue
        pins = _pins() if pins is None else pins
        if release := pins.get(commit):
            raise HubError(
                f"{repo}: the release {release} pins {commit[:12]}, where the tag `{tag}` is; made "
                f"again it would move: give `{key}` another repository, `moxin run` another "
                "`--namespace`, or change what else the recipe says"
            )


def _pins() -> dict[str, str]:
    """Commit → the release that pins it, of all releases of the namespace."""
    pins: dict[str, str] = {}
    with errors(f"the releases of {namespace()}"):
        listed = [one.id for one in api().list_models(author=namespace(), filter=TAG)]
    for repo in listed:
        text = read_text(repo, "model", "main", INDEX)
        for pinned in json.loads(text) if text else ():
            pins[pinned["commit"]] = repo
    return pins

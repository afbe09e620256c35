"""Merging a pull request: what it changed since it left its branch, on top of that branch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dulwich.objects import ObjectID

from moxin_hub import discussions, tree
from moxin_hub.errors import HubError, revision_not_found
from moxin_hub.repository import Repository
from moxin_hub.tree import Editor


def merge(repository: Repository, number: int, text: str) -> str:
    """Merges a pull request into the branch it was made against; the id of the merge's commit.

    Raises:
        HubError: 400 if this is no open pull request, 409 if both sides changed the same file.
    """
    with repository.lock:
        record = discussions.read(repository, number)
        if record["base"] is None or record["status"] != "open":
            raise HubError(400, "Only an open pull request can be merged")
        ours = repository.target(record["base"])
        theirs = repository.target(discussions.ref_of(number))
        if ours is None or theirs is None:
            raise revision_not_found(record["base"])
        message = f"{record['title']} (#{number})"
        new = repository.commit(_merged(repository, ours, theirs), [ours, theirs], message)
        repository.move(record["base"], ours, new)
        discussions.set_status(repository, number, "merged", text, new.decode())
    return new.decode()


def _merged(repository: Repository, ours: ObjectID, theirs: ObjectID) -> ObjectID:
    mine = {commit.id for commit in repository.history(ours)}
    shared = next((c for c in repository.history(theirs) if c.id in mine), None)
    if shared is None:
        raise HubError(409, "The pull request and its branch have no common history")
    start, left, right = (_files(repository, commit) for commit in (shared.id, ours, theirs))
    changed = {p for p in chain(start, right) if start.get(p) != right.get(p)}
    kept = left.keys() - (changed - right.keys())
    folders = {folder for path in kept for folder in _folders(path)}
    clashes = sorted(
        path
        for path in changed
        if left.get(path) not in (start.get(path), right.get(path))
        or (path in right and (path in folders or any(f in kept for f in _folders(path))))
    )
    if clashes:
        raise HubError(409, f"Both sides changed {clashes[0]}", files=clashes)
    editor = Editor(repository.objects, repository.objects.commit(ours).tree)
    for path in changed & left.keys() - right.keys():  # first: files may stand in their place
        editor.remove(path, folder=False)
    for path in changed & right.keys():
        editor.put(path, right[path])
    return editor.write()


def _folders(path: str) -> Iterator[str]:
    """All folders that a path is in."""
    while path := path.rpartition("/")[0]:
        yield path


def _files(repository: Repository, commit: ObjectID) -> dict[str, ObjectID]:
    root = repository.objects.commit(commit).tree
    entries = tree.walk(repository.objects, root, "", recursive=True)
    return {entry.path: entry.oid for entry in entries if not entry.is_folder}

"""Outputs: a folder with its manifest and card becomes one commit, then a branch or tags."""

import hashlib
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import RepoFile

from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.cards import render
from moxin_recipes.hub.pull import commit_of, read_manifest
from moxin_recipes.hub.session import HubError, api, errors, qualified

log = logging.getLogger(__name__)
T = TypeVar("T")
# How long the end of a stage waits for a Hub that is away, in seconds.
PATIENCE = 600.0
_INCOMING = "incoming-"
# Beside a model lies the list of what was left out of its data.
warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")


def push(
    folder: Path,
    repo: str,
    repo_type: str,
    manifest: dict[str, Any],
    *,
    private: bool,
    branch: str = "main",
    tags: tuple[str, ...] = (),
) -> str:
    """Pushes `folder` as the whole tree of `branch`, moves `tags` there; the commit's id.

    Tags are set in their order, so the last one means that everything before it is there. A branch
    beside main appears, or moves, only when all of it has arrived and is verified. A push that is
    there already (same key, same payload) is not made twice.
    """
    repo = qualified(repo)
    whole = manifests.write(folder, manifest)
    (folder / manifests.CARD).write_text(render(repo, repo_type, whole, folder), encoding="utf-8")
    with errors(repo):
        api().create_repo(repo, repo_type=repo_type, private=private, exist_ok=True)
    commit = _already(repo, repo_type, branch, whole)
    if commit is None:
        commit = _upload_beside(folder, repo, repo_type, branch)
    _verify(repo, repo_type, commit, folder, whole["files"])
    if branch != "main":
        _move_branch(repo, repo_type, branch, commit)
    for tag in tags:
        move_tag(repo, repo_type, tag, commit)
    log.info("pushed %s@%s (%s)", repo, tags[0] if tags else branch, commit[:12])
    return commit


def _already(repo: str, repo_type: str, branch: str, whole: dict[str, Any]) -> str | None:
    commit = commit_of(repo, repo_type, branch)
    there = read_manifest(repo, repo_type, commit) if commit else None
    same = there is not None and all(there[k] == whole[k] for k in ("key", "payload", "stage"))
    return commit if same else None


def _upload_beside(folder: Path, repo: str, repo_type: str, branch: str) -> str:
    """Uploads to main, or for another branch to one of its own that nobody reads."""
    if branch == "main":
        return _upload(folder, repo, repo_type, branch)
    incoming = _INCOMING + branch
    with errors(f"{repo}@{incoming}"):
        api().create_branch(repo, repo_type=repo_type, branch=incoming, exist_ok=True)
    return _upload(folder, repo, repo_type, incoming)


def _move_branch(repo: str, repo_type: str, branch: str, commit: str) -> None:
    """Makes `branch` point at `commit`, and removes the one it was uploaded to."""
    there = commit_of(repo, repo_type, branch)
    with errors(f"{repo}@{branch}"):
        if there not in (None, commit):
            api().delete_branch(repo, repo_type=repo_type, branch=branch)
        if there != commit:
            api().create_branch(repo, repo_type=repo_type, branch=branch, revision=commit)
    if commit_of(repo, repo_type, _INCOMING + branch):
        with errors(f"{repo}@{_INCOMING + branch}"):
            api().delete_branch(repo, repo_type=repo_type, branch=_INCOMING + branch)


def _upload(folder: Path, repo: str, repo_type: str, branch: str) -> str:
    with errors(repo):
        info = api().upload_folder(
            repo_id=repo,
            repo_type=repo_type,
            folder_path=folder,
            revision=branch,
            delete_patterns="*",  # the folder is the whole tree; .gitattributes stays
            ignore_patterns=["state-*/**", ".*"],
            commit_message=f"moxin: {folder.name}",
        )
    return str(info.oid)


def _verify(
    repo: str, repo_type: str, commit: str, folder: Path, files: dict[str, dict[str, Any]]
) -> None:
    """The commit has every file: by sha256 those in LFS, the small ones by git's own digest."""
    with errors(repo):
        entries = api().list_repo_tree(repo, repo_type=repo_type, revision=commit, recursive=True)
        there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    for path, wanted in files.items():
        entry = there.get(path)
        if entry is None or entry.size != wanted["size"]:
            whole = False
        elif entry.lfs:
            whole = entry.lfs.sha256 == wanted["sha256"]
        else:
            content = (folder / path).read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
            whole = entry.blob_id == blob.hexdigest()
        if not whole:
            raise HubError(f"{repo}@{commit[:12]}: {path} did not arrive whole; push it again")


def move_tag(repo: str, repo_type: str, tag: str, commit: str) -> None:
    """Makes `tag` point at `commit`, wherever it pointed before."""
    there = commit_of(repo, repo_type, tag)
    if there == commit:
        return
    with errors(f"{repo}@{tag}"):
        if there is not None:
            api().delete_tag(repo, tag=tag, repo_type=repo_type)
        api().create_tag(repo, tag=tag, revision=commit, repo_type=repo_type)


def patiently(
    work: Callable[[], T], patience: float = math.inf, hurry: threading.Event | None = None
) -> T:
    """Does `work`; while the Hub is away, again after 1, 2, 4 … up to 30 seconds.

    After `patience` seconds of absence the HubError is raised. Once `hurry` is set (somebody
    waits, and does nothing else) it is tried every second.
    """
    pause, deadline = 1.0, math.inf
    hurry = hurry or threading.Event()
    while True:
        try:
            return work()
        except HubError as error:
            # The time before the first failure was work, not absence.
            deadline = min(deadline, time.monotonic() + patience)
            if not error.passing or time.monotonic() + pause > deadline:
                raise
            log.warning("%s (tried again soon)", error)
        if hurry.is_set():
            time.sleep(1.0)
        else:
            hurry.wait(pause)
            pause = min(2 * pause, 30.0)

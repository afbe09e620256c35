"""Outputs: a folder with its manifest and card becomes a commit, then a branch or tags."""

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from moxin_recipes.hub import commits
from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.cards import render
from moxin_recipes.hub.pull import INCOMING, commit_of
from moxin_recipes.hub.session import HubError, api, errors, qualified

log = logging.getLogger(__name__)
T = TypeVar("T")
# How long the end of a stage waits for a Hub that is away, in seconds.
PATIENCE = 600.0
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
    there whole is not made twice; one that was stopped anywhere goes on by being repeated.
    """
    repo = qualified(repo)
    whole = manifests.write(folder, manifest)
    card = render(repo, repo_type, whole, folder, tags[0] if tags else branch)
    (folder / manifests.CARD).write_text(card, encoding="utf-8")
    with errors(repo):
        api().create_repo(repo, repo_type=repo_type, private=private, exist_ok=True)
    if branch == "main":
        commit = commits.bring(folder, repo, repo_type, branch, whole)
    else:
        commit = _bring_beside(folder, repo, repo_type, branch, whole)
    for tag in tags:
        move_tag(repo, repo_type, tag, commit)
    log.info("pushed %s@%s (%s)", repo, tags[0] if tags else branch, commit[:12])
    return commit


def _bring_beside(
    folder: Path, repo: str, repo_type: str, branch: str, whole: dict[str, Any]
) -> str:
    """Uploads to a branch of its own that nobody reads, and moves `branch` there."""
    commit = commit_of(repo, repo_type, branch)
    if commit is None or not commits.is_whole(folder, repo, repo_type, commit, whole):
        incoming = INCOMING + branch
        with errors(f"{repo}@{incoming}"):
            api().create_branch(repo, repo_type=repo_type, branch=incoming, exist_ok=True)
        commit = commits.bring(folder, repo, repo_type, incoming, whole)
    _move_branch(repo, repo_type, branch, commit)
    return commit


def _move_branch(repo: str, repo_type: str, branch: str, commit: str) -> None:
    """Makes `branch` point at `commit`, and removes the one it was uploaded to."""
    there = commit_of(repo, repo_type, branch)
    with errors(f"{repo}@{branch}"):
        if there not in (None, commit):
            api().delete_branch(repo, repo_type=repo_type, branch=branch)
        if there != commit:
            api().create_branch(repo, repo_type=repo_type, branch=branch, revision=commit)
    if commit_of(repo, repo_type, INCOMING + branch):
        with errors(f"{repo}@{INCOMING + branch}"):
            api().delete_branch(repo, repo_type=repo_type, branch=INCOMING + branch)


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

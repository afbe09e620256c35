"""Outputs: a folder with its manifest and card becomes one commit, then a branch or tags."""

import logging
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.cards import render
from moxin_recipes.hub.pull import commit_of, read_manifest
from moxin_recipes.hub.session import HubError, api, errors, qualified

log = logging.getLogger(__name__)


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

    Tags are set in their order, so the last one means that everything before it is there. A push
    that is there already (same key, same payload) is not made twice.
    """
    repo = qualified(repo)
    whole = manifests.write(folder, manifest)
    (folder / manifests.CARD).write_text(render(repo, repo_type, whole, folder), encoding="utf-8")
    with errors(repo):
        api().create_repo(repo, repo_type=repo_type, private=private, exist_ok=True)
        if branch != "main":
            api().create_branch(repo, repo_type=repo_type, branch=branch, exist_ok=True)
    commit = _already(repo, repo_type, branch, whole) or _upload(folder, repo, repo_type, branch)
    _verify(repo, repo_type, commit, whole["files"])
    for tag in tags:
        move_tag(repo, repo_type, tag, commit)
    log.info("pushed %s@%s (%s)", repo, tags[0] if tags else branch, commit[:12])
    return commit


def _already(repo: str, repo_type: str, branch: str, whole: dict[str, Any]) -> str | None:
    commit = commit_of(repo, repo_type, branch)
    there = read_manifest(repo, repo_type, commit) if commit else None
    same = there is not None and all(there[k] == whole[k] for k in ("key", "payload", "stage"))
    return commit if same else None


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


def _verify(repo: str, repo_type: str, commit: str, files: dict[str, dict[str, Any]]) -> None:
    """The commit has every file, with the size and (for LFS files) the sha256 of the manifest."""
    with errors(repo):
        entries = api().list_repo_tree(repo, repo_type=repo_type, revision=commit, recursive=True)
        there = {entry.path: entry for entry in entries if hasattr(entry, "size")}
    for path, wanted in files.items():
        entry = there.get(path)
        lfs = getattr(entry, "lfs", None)
        if (
            entry is None
            or entry.size != wanted["size"]
            or (lfs and lfs.sha256 != wanted["sha256"])
        ):
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


class BackgroundPusher:
    """Pushes intermediate checkpoints from one thread, while training goes on.

    Files are hard-linked first, so that the Trainer may rotate a checkpoint away meanwhile.
    `finish` waits and raises the first error: no push is lost in silence.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="push")
        self._pending: list[Future[None]] = []

    def submit(self, files: list[Path], name: str, **push_options: Any) -> None:
        """Queues the push of `files` (flat) as a folder called `name`."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".push-", dir=self._scratch)) / name
        folder.mkdir()
        for file in files:
            (folder / file.name).hardlink_to(file)

        def work() -> None:
            push(folder, **push_options)
            shutil.rmtree(folder.parent)

        self._pending.append(self._worker.submit(work))

    def finish(self) -> None:
        """Waits for every push."""
        for future in self._pending:
            future.result()
        self._worker.shutdown()

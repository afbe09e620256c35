"""A folder becomes the whole tree of a branch, in one commit or in a series whose last says so.

What the branch has already, by size and digest, is not sent again, whoever sent it and however far
that came. Up to `FILES` files are one commit: a reader sees the tree before or the tree after. More
are a series, because a Hub has not the time for them in one request; from its first commit to its
last the manifest says that it is unfinished.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, RepoFile

from moxin_recipes.hub.files import groups
from moxin_recipes.hub.manifest import CARD, EVAL_RESULTS, MANIFEST
from moxin_recipes.hub.pull import commit_of, manifest_told
from moxin_recipes.hub.session import HubError, api, errors

Files = dict[str, dict[str, Any]]  # path → sha256, size, as in a manifest
Operation = CommitOperationAdd | CommitOperationDelete
# Of a commit. The client's own series go up to as many, and stay below the Hub's time limit.
FILES = 1000
# Of a commit in small files: their content is in the request. As much as in the client's series.
SMALL_BYTES = 100 << 20
UPLOAD_BYTES = 10 << 30  # uploaded together, or one file; a kill loses no group before it
_SMALL = 10 << 20  # above this many bytes a file goes to the Hub's store, whatever its name
_HUBS_OWN = ".gitattributes"  # which a Hub may add to
_UNFINISHED = b'{"unfinished": "the push of this repository has not come to its end"}\n'


def bring(folder: Path, repo: str, repo_type: str, branch: str, whole: dict[str, Any]) -> str:
    """Makes `folder` the tree of a branch that exists, verified; the commit's id.

    `whole` is the folder's manifest. A branch that has it all gets no commit.

    Raises:
        HubError: somebody else commits to the branch meanwhile, or a file did not arrive whole.
    """
    head = commit_of(repo, repo_type, branch)
    if head is None:
        raise HubError(f"{repo}@{branch}: the branch is gone; give the same command again")
    there = _tree(repo, repo_type, head)
    wrong, foreign = _differences(folder, there, whole["files"])
    if not (wrong or foreign) and _closed(repo, repo_type, head, there, whole):
        return head
    scores = [path for path in there if _is_score(path)]  # of what was there before
    deletions = [CommitOperationDelete(path, is_folder=False) for path in (*foreign, *scores)]
    additions = [CommitOperationAdd(path, folder / path) for path in wrong]
    closing = [CommitOperationAdd(path, folder / path) for path in (MANIFEST, CARD)]
    series = list(parts([*deletions, *additions])) or [[]]
    series[-1] += closing
    if len(series) > 1:
        card = [CommitOperationDelete(CARD, is_folder=False)] if CARD in there else []
        series[0] = [*card, CommitOperationAdd(MANIFEST, _UNFINISHED), *series[0]]
    for number, operations in enumerate(series, 1):
        part = f" (part {number} of {len(series)})" if len(series) > 1 else ""
        head = _commit(repo, repo_type, branch, head, operations, f"moxin: {folder.name}{part}")
    verify(folder, repo, repo_type, head, whole["files"])
    return head


def is_whole(folder: Path, repo: str, repo_type: str, commit: str, whole: dict[str, Any]) -> bool:
    """Whether a commit has exactly this push: its files and no others, its card, its manifest."""
    there = _tree(repo, repo_type, commit)
    wrong, foreign = _differences(folder, there, whole["files"])
    return not (wrong or foreign) and _closed(repo, repo_type, commit, there, whole)


def verify(folder: Path, repo: str, repo_type: str, commit: str, files: Files) -> None:
    """Raises HubError unless a commit has these files and no others, by size and digest."""
    wrong, foreign = _differences(folder, _tree(repo, repo_type, commit), files)
    for path in wrong:
        raise HubError(f"{repo}@{commit[:12]}: {path} did not arrive whole; push it again")
    for path in foreign:
        raise HubError(f"{repo}@{commit[:12]}: {path} does not belong there; push it again")


def _closed(
    repo: str, repo_type: str, commit: str, there: dict[str, RepoFile], whole: dict[str, Any]
) -> bool:
    """Whether a commit has a card, and the manifest of this very push."""
    if not {CARD, MANIFEST} <= there.keys():
        return False
    told = manifest_told(repo, repo_type, commit) or {}
    return all(told.get(name) == whole[name] for name in ("key", "payload", "stage", "files"))


def _tree(repo: str, repo_type: str, commit: str) -> dict[str, RepoFile]:
    with errors(f"{repo}@{commit[:12]}"):
        entries = api().list_repo_tree(repo, repo_type=repo_type, revision=commit, recursive=True)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _differences(
    folder: Path, there: dict[str, RepoFile], files: Files
) -> tuple[list[str], list[str]]:
    """Paths that a tree lacks or has otherwise; paths that it has and should not have."""
    wrong = [path for path in files if not _same(there.get(path), folder / path, files[path])]
    ours = {*files, CARD, MANIFEST, _HUBS_OWN}
    return wrong, [path for path in there if path not in ours and not _is_score(path)]


def _is_score(path: str) -> bool:
    return path.startswith(f"{EVAL_RESULTS}/")


def _same(entry: RepoFile | None, path: Path, wanted: dict[str, Any]) -> bool:
    """By sha256 what lies in the Hub's store; a small file by git's own digest of its content."""
    if entry is None or entry.size != wanted["size"]:
        return False
    if entry.lfs:
        return bool(entry.lfs.sha256 == wanted["sha256"])
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    here = hashlib.sha256(content).hexdigest() == wanted["sha256"]
    return here and entry.blob_id == blob.hexdigest()


def parts(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    """Operations in groups for a commit each."""
    return groups(operations, (lambda _: 1, FILES), (_in_request, SMALL_BYTES))


def _in_request(operation: Operation) -> int:
    """Bytes of its content that go with the request itself."""
    size = _size(operation)
    return size if size <= _SMALL else 0


def _size(operation: Operation) -> int:
    return operation.upload_info.size if isinstance(operation, CommitOperationAdd) else 0


def _commit(
    repo: str, repo_type: str, branch: str, head: str, operations: list[Operation], message: str
) -> str:
    additions = [one for one in operations if isinstance(one, CommitOperationAdd)]
    with errors(f"{repo}@{branch}"):
        for some in groups(additions, (_size, UPLOAD_BYTES)):
            api().preupload_lfs_files(
                repo,
                some,
                repo_type=repo_type,
                revision=branch,
                free_memory=False,
                gitignore_content="",  # one that lies about on the branch leaves nothing out
            )
        made = api().create_commit(
            repo,
            operations,
            repo_type=repo_type,
            revision=branch,
            parent_commit=head,
            commit_message=message,
        )
    return str(made.oid)

"""Inputs: a reference is resolved to a commit first, and only that commit is read."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import get_cached_repo_tree
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import hf_thread_map, tqdm

from moxin_recipes.hub import own
from moxin_recipes.hub.manifest import CARD, EVAL_RESULTS, MANIFEST, loads
from moxin_recipes.hub.session import HubError, MissingError, api, errors, qualified
from moxin_recipes.recipe.fields import Reference, is_path

_WORKERS = 8  # downloads at a time, as many as the client's own for a snapshot
# How the description of a commit ends that a mirror made; the id of the one it repeats follows.
MIRROR_OF = "mirror-of: "
INCOMING = "incoming-"  # begins the name of a branch while it is uploaded
STATE = "state-"  # begins the name of a branch with a training's state (`push_training_state`)
GGUF = "gguf"  # the branch of a model as llama.cpp reads it; no result of a stage
_NO_RESULT = re.compile(rf"main|{GGUF}|done-.*|{INCOMING}.*|{STATE}(.+-)?step-\d+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Parent:
    """A pinned input: recipe key, repository type and name, revision as asked, commit, payload."""

    key: str
    type: str
    repo: str
    revision: str
    commit: str
    payload: str

    def as_dict(self) -> dict[str, str]:
        """For the manifest."""
        return asdict(self)


class Pull(Protocol):
    """The folder of an input, by the key of the recipe that names it."""

    def __call__(self, key: str, patterns: list[str] | None = None) -> Path:
        """It holds all files of the input, or those that match `patterns`."""


def read_manifest(repo: str, repo_type: str, commit: str) -> dict[str, Any] | None:
    """The manifest at a commit; None for a repository that these recipes did not make.

    Raises:
        MissingError: it is that of a push under way, or one that was stopped.
    """
    told = manifest_told(repo, repo_type, commit)
    if told is not None and "payload" not in told:
        raise MissingError(
            f"{repo}@{commit[:12]}: the push of this commit did not come to its end; "
            "run the stage that makes it"
        )
    return told


def manifest_told(repo: str, repo_type: str, commit: str) -> dict[str, Any] | None:
    """What `moxin.json` says at a commit, whole or not; nothing where it is no JSON object."""
    try:
        text = read_text(repo, repo_type, commit, MANIFEST)
        told = None if text is None else loads(text)
        return told if text is None or isinstance(told, dict) else {}
    except ValueError:
        return {}


def read_text(repo: str, repo_type: str, revision: str, path: str) -> str | None:
    """A small file of a repository; None where the repository has no such file."""
    with errors(f"{repo}@{revision[:12]}"):
        try:
            found = api().hf_hub_download(repo, path, repo_type=repo_type, revision=revision)
        except LocalEntryNotFoundError:
            raise  # the Hub is out of reach, which says nothing of the repository
        except EntryNotFoundError:
            return None
    return Path(found).read_text(encoding="utf-8")


def resolve(reference: Reference) -> Parent:
    """Pins a reference; its payload digest is the manifest's, else one of the listing.

    A file or folder of this machine is pinned where the Hub has it as it is now (`own.bring`).

    A pinned commit of another Hub is found where a mirror repeated it: under another id, with the
    same payload, and so with the same key for all that is made of it.
    """
    if is_path(reference.repo) and reference.type == own.TYPE:
        found = own.of(reference)
        repo, commit = found.repo, own.commit_of(found)
    else:
        repo = reference.repo if reference.benchmark else qualified(reference.repo)
        commit = commit_at(reference, repo)
    manifest = read_manifest(repo, reference.type, commit)
    payload = manifest["payload"] if manifest else listed(repo, reference.type, commit)
    return Parent(reference.key, reference.type, repo, reference.revision, commit, payload)


def commit_at(reference: Reference, repo: str) -> str:
    """The commit of a revision; HubError where the repository is one of the other type."""
    with errors(f"`{reference.key}`: {repo}@{reference.revision}"):
        try:
            info = api().repo_info(repo, repo_type=reference.type, revision=reference.revision)
        except RevisionNotFoundError:
            repeated = _repeated(repo, reference.type, reference.revision)
            if repeated is None:
                raise
            return repeated
        except HFValidationError:
            _name_path(reference)
            raise
        except RepositoryNotFoundError:
            other = {"model": "dataset", "dataset": "model"}[reference.type]
            if not reference.benchmark and api().repo_exists(repo, repo_type=other):
                raise HubError(
                    f"`{reference.key}`: {repo} is a {other} repository, and this key reads a "
                    f"{reference.type}; name another one, or add the files to a {reference.type} "
                    f"(`moxin hub add … --type {reference.type}`)"
                ) from None
            _name_path(reference)
            raise
    return str(info.sha)


def _name_path(reference: Reference) -> None:
    """Raises MissingError where a data set's name is that of a file or folder here."""
    if reference.type == "dataset" and Path(reference.repo).exists():
        raise MissingError(
            f"`{reference.key}`: no repository {reference.repo} is on this Hub; write "
            f"./{reference.repo} for what lies here under that name"
        )


def resolve_all(references: Iterable[Reference]) -> list[Parent]:
    """Pins references in their order: each revision of `*`, and the benchmarks that are there."""
    parents = []
    for reference in references:
        if reference.revision == "*":
            parents += [resolve(one) for one in _revisions(reference)]
            continue
        try:
            parents.append(resolve(reference))
        except MissingError:
            if not reference.benchmark:
                raise
    return parents


def _revisions(reference: Reference) -> list[Reference]:
    """All tags and branches of a repository that name a result, each commit once."""
    repo = qualified(reference.repo)
    with errors(f"`{reference.key}`: {repo}"):
        refs = api().list_repo_refs(repo, repo_type=reference.type)
    named: dict[str, str] = {}  # commit → name; a tag before a branch
    for ref in (*refs.tags, *refs.branches):
        if not _NO_RESULT.fullmatch(ref.name):
            named.setdefault(str(ref.target_commit), ref.name)
    if not named:
        raise MissingError(f"`{reference.key}`: {repo} has no tags or branches beside main")
    return [replace(reference, revision=name) for name in sorted(named.values())]


def mirror_of(message: str) -> str | None:
    """The commit that a mirror's commit repeats, by its description; None for any other commit."""
    _, marked, commit = message.rpartition(MIRROR_OF)
    return commit.strip() if marked and _COMMIT.fullmatch(commit.strip()) else None


def _repeated(repo: str, repo_type: str, commit: str) -> str | None:
    """The commit here that repeats a commit of another Hub."""
    if not _COMMIT.fullmatch(commit):
        return None
    refs = api().list_repo_refs(repo, repo_type=repo_type)
    for ref in (*refs.branches, *refs.tags):
        for listed in api().list_repo_commits(repo, repo_type=repo_type, revision=ref.name):
            if mirror_of(listed.message) == commit:
                return str(listed.commit_id)
    return None


def listed(repo: str, repo_type: str, commit: str) -> str:
    """Payload digest of a repository without a manifest: git's digests of its top level.

    They cover all that lies below, and are the same on every Hub; the card, scores, and
    .gitattributes, which a Hub may add to, do not count.
    """
    with errors(f"{repo}@{commit[:12]}"):
        entries = list(api().list_repo_tree(repo, repo_type=repo_type, revision=commit))
    lines = sorted(
        f"{entry.path}\0{entry.blob_id if isinstance(entry, RepoFile) else entry.tree_id}\n"
        for entry in entries
        if entry.path not in (CARD, EVAL_RESULTS, ".gitattributes")
    )
    return "tree:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def download(parent: Parent, patterns: list[str] | None = None) -> Path:
    """Folder with the files of a pinned input: all, or those that match a few `patterns`.

    Each pattern is held against each file; `fetch` is for files whose names are known. HubError
    where files of the input's own manifest are missing: the push that makes it was stopped.
    """
    with errors(f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}"):
        folder = Path(
            api().snapshot_download(
                parent.repo,
                repo_type=parent.type,
                revision=parent.commit,
                allow_patterns=patterns,
            )
        )
    if patterns is None and (folder / MANIFEST).exists():
        _check_whole(parent, folder)
    return folder


def _check_whole(parent: Parent, folder: Path) -> None:
    manifest = read_manifest(parent.repo, parent.type, parent.commit) or {}
    missing = [path for path in manifest.get("files", {}) if not (folder / path).exists()]
    if missing:
        raise HubError(
            f"`{parent.key}`: {parent.repo}@{parent.commit[:12]} lacks {len(missing)} files of its "
            f"manifest, the first {missing[0]}; run the stage again that makes it, which mends it"
        )


class _Quiet(tqdm):
    """No bar of its own for each of many files."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "disable": True})


def fetch(parent: Parent, names: Iterable[str]) -> Path:
    """Folder with the named files of a pinned input; its cost is linear in their number."""
    folder = _listed_here(parent)

    def one(name: str) -> None:
        api().hf_hub_download(
            parent.repo,
            name,
            repo_type=parent.type,
            revision=parent.commit,
            tqdm_class=_Quiet,
        )

    wanted = list(names)
    with errors(f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}"):
        hf_thread_map(one, wanted, desc=f"{len(wanted)} files", max_workers=_WORKERS)
    return folder


def files(parent: Parent) -> list[str]:
    """Paths of all files of a pinned input, sorted; the Hub is asked once for each commit."""
    _listed_here(parent)
    listed = get_cached_repo_tree(parent.repo, repo_type=parent.type, revision=parent.commit)
    return sorted(entry.path for entry in listed)


def _listed_here(parent: Parent) -> Path:
    """The folder of a pinned input in the cache, where the client keeps the list of its files."""
    return download(parent, [CARD, ".gitattributes"])


def commit_of(repo: str, repo_type: str, revision: str) -> str | None:
    """Commit of a branch or tag; None where the repository or the revision does not exist."""
    with errors(f"{repo}@{revision}"):
        try:
            refs = api().list_repo_refs(repo, repo_type=repo_type)
        except RepositoryNotFoundError:
            return None
    for ref in (*refs.tags, *refs.branches):
        if ref.name == revision:
            return str(ref.target_commit)
    return None

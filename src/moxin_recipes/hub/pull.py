"""Inputs: a reference is resolved to a commit first, and only that commit is read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from moxin_recipes.hub.manifest import MANIFEST
from moxin_recipes.hub.session import api, errors, qualified
from moxin_recipes.recipe import Reference


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


def read_manifest(repo: str, repo_type: str, commit: str) -> dict[str, Any] | None:
    """The manifest at a commit; None for a repository that these recipes did not make."""
    with errors(f"{repo}@{commit[:12]}"):
        try:
            path = api().hf_hub_download(repo, MANIFEST, repo_type=repo_type, revision=commit)
        except LocalEntryNotFoundError:
            raise  # the Hub is out of reach, which says nothing of the repository
        except EntryNotFoundError:
            return None
    loaded: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return loaded


def resolve(reference: Reference) -> Parent:
    """Pins a reference; its payload digest is the manifest's, or the commit where there is none."""
    repo = qualified(reference.repo)
    with errors(f"`{reference.key}`: {repo}@{reference.revision}"):
        info = api().repo_info(repo, repo_type=reference.type, revision=reference.revision)
    commit = str(info.sha)
    manifest = read_manifest(repo, reference.type, commit)
    payload = manifest["payload"] if manifest else f"commit:{commit}"
    return Parent(reference.key, reference.type, repo, reference.revision, commit, payload)


def download(parent: Parent, patterns: list[str] | None = None) -> Path:
    """Folder with the files of a pinned input (all, or those that match `patterns`)."""
    with errors(f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}"):
        return Path(
            snapshot_download(
                parent.repo,
                repo_type=parent.type,
                revision=parent.commit,
                allow_patterns=patterns,
            )
        )


def commit_of(repo: str, repo_type: str, revision: str) -> str | None:
    """Commit of a branch or tag; None where the repository or the revision does not exist."""
    with errors(f"{repo}@{revision}"):
        if not api().repo_exists(repo, repo_type=repo_type):
            return None
        refs = api().list_repo_refs(repo, repo_type=repo_type)
    for ref in (*refs.tags, *refs.branches):
        if ref.name == revision:
            return str(ref.target_commit)
    return None

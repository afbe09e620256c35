"""A repository as a mirror sees it, on either Hub: its history, its files by their digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import GitCommitInfo, HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

from moxin_recipes.hub.session import HubError

# Clients insist on a namespace; this one stands for none on the embedded Hub: _/gpt2.
NAMELESS = "_"
_BATCH_FILES = 256  # as many as the client itself asks about at a time


@dataclass(frozen=True)
class File:
    """A file of a commit: `oid` is the sha256 of a big file, git's blob id of another."""

    size: int
    oid: str
    is_big: bool

    def digest(self, path: Path) -> str:
        """What `oid` is for the right bytes, of those at `path`."""
        hasher = hashlib.sha256() if self.is_big else hashlib.sha1(usedforsecurity=False)
        if not self.is_big:
            hasher.update(b"blob %d\0" % self.size)
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                hasher.update(piece)
        return hasher.hexdigest()


@dataclass(frozen=True)
class Side:
    """A repository on one of the two Hubs."""

    api: HfApi
    repo: str
    type: str

    @property
    def name(self) -> str:
        return self.repo if self.type == "model" else f"{self.type}s/{self.repo}"

    def at(self, commit: str) -> str:
        """The address of a commit."""
        return f"{self.api.endpoint}/{self.name}@{commit}"

    def history(self, revision: str) -> list[GitCommitInfo]:
        """The commits up to a revision, oldest first."""
        newest_first = self.api.list_repo_commits(self.repo, repo_type=self.type, revision=revision)
        return newest_first[::-1]

    def files(self, commit: str) -> dict[str, File]:
        """Path → file of a commit."""
        entries = self.api.list_repo_tree(
            self.repo, repo_type=self.type, revision=commit, recursive=True
        )
        return {
            entry.path: File(entry.size, entry.lfs.sha256, True)
            if entry.lfs
            else File(entry.size, entry.blob_id, False)
            for entry in entries
            if isinstance(entry, RepoFile)
        }

    def references(self) -> tuple[dict[str, str], dict[str, str]]:
        """Branch → commit, main first, and tag → commit, those that say `done` last."""
        refs = self.api.list_repo_refs(self.repo, repo_type=self.type)
        branches = {ref.name: str(ref.target_commit) for ref in refs.branches}
        tags = {ref.name: str(ref.target_commit) for ref in refs.tags}
        return (
            dict(sorted(branches.items(), key=lambda item: (item[0] != "main", item[0]))),
            dict(sorted(tags.items(), key=lambda item: (item[0].startswith("done-"), item[0]))),
        )

    def missing(self, big: dict[str, tuple[str, File]]) -> list[tuple[str, File]]:
        """Those of the big files (sha256 → path, file) that are not on this Hub."""
        missing = []
        oids = list(big)
        for start in range(0, len(oids), _BATCH_FILES):
            asked = oids[start : start + _BATCH_FILES]
            answers, errors, _ = post_lfs_batch_info(
                [info(big[oid][1]) for oid in asked],
                token=self.api.token,  # type: ignore[arg-type]
                repo_type=self.type,
                repo_id=self.repo,
                endpoint=self.api.endpoint,
            )
            if errors:
                raise HubError(f"{self.name}: {errors[0]['error']['message']}")
            missing += [big[item["oid"]] for item in answers if item.get("actions")]
        return missing

    def fetch(self, commit: str, path: str, file: File, scratch: Path) -> Path:
        """A file's verified bytes in the scratch folder; half a download goes on where it ended."""
        whole = scratch / file.oid
        if whole.exists():
            return whole
        part = whole.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > file.size:
            part.unlink()
        url = hf_hub_url(
            self.repo, path, repo_type=self.type, revision=commit, endpoint=self.api.endpoint
        )
        with part.open("ab") as out:
            http_get(
                url,
                out,
                resume_size=out.tell(),
                headers=self.api._build_hf_headers(),
                expected_size=file.size,
            )
        if file.digest(part) != file.oid:
            part.unlink()
            raise HubError(
                f"{self.at(commit[:12])}: {path} does not have the digest that is listed for it; "
                "if it happens again, the source is damaged (`moxin hub fsck`)"
            )
        return part.rename(whole)


def info(file: File) -> UploadInfo:
    """What the client has to know of a big file that it need not read."""
    return UploadInfo(size=file.size, sample=b"", sha256=bytes.fromhex(file.oid))

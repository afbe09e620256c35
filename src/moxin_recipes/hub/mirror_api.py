"""A repository copied to another Hub through the public API: its history is committed anew.

Commit ids change on the way. Each new commit says in its description which one it repeats, so a
mirror that was stopped finds in the target alone how far it came, and needs no state of its own.
"""

import re
import shutil
from pathlib import Path
from typing import Protocol

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, GitCommitInfo

from moxin_recipes.hub.files import groups
from moxin_recipes.hub.pull import MIRROR_OF, mirror_of
from moxin_recipes.hub.session import HubError
from moxin_recipes.hub.side import File, Side, info

_BATCH_BYTES = 1 << 30  # of big files that lie in the scratch folder at a time, or one file
# The public Hub adds rules to this file by itself when big files come that it does not name.
_HUBS_OWN = ".gitattributes"
# A branch that a mirror makes for what only a tag leads to, and takes away when it is done.
_ASIDE = re.compile(r"mirror-of-[0-9a-f]{40}")


class Show(Protocol):
    """Where progress goes."""

    def step(self, text: str) -> None:
        """What is being done."""

    def passed(self, count: int) -> None:
        """Bytes that went over."""


class Copy:
    """One repository on its way from a source to a target that exists; `run` may be repeated."""

    def __init__(self, source: Side, target: Side, scratch: Path, show: Show) -> None:
        self.commits = self.files = self.bytes = 0  # sent
        self.new: dict[str, str] = {}  # commit of the source → of the target
        self._source = source
        self._target = target
        self._scratch = scratch
        self._show = show
        self._heads: dict[str, str] = {}
        self._repeats: dict[str, str] = {}  # commit of the target → of the source
        self._root = ""
        self._ids: set[str] = set()  # all commits of the source that were met

    def run(self) -> dict[str, str]:
        """Repeats all branches and tags; the commits' ids, old → new.

        Raises:
            HubError: the target has commits of its own on a branch, or a file arrived wrong.
        """
        self._heads, tags_there = self._target.references()
        for revision in (*self._heads, *tags_there):
            for made in self._target.history(revision):
                origin = mirror_of(made.message) or made.commit_id
                self._repeats[made.commit_id] = origin
                self.new.setdefault(origin, made.commit_id)
        self._root = self._target.history("main")[0].commit_id
        branches, tags = self._source.references()
        for name, tip in branches.items():
            self._branch(name, tip)
        for name, tip in tags.items():
            self._tag(name, tip, tags_there.get(name))
        for name in self._heads:  # those that a mirror which was killed left behind, too
            if _ASIDE.fullmatch(name) and name not in branches:
                self._target.api.delete_branch(
                    self._target.repo, branch=name, repo_type=self._target.type
                )
        return {old: self.new[old] for old in sorted(self._ids)}

    def _tag(self, name: str, commit: str, there: str | None) -> None:
        target = self._target
        if commit not in self.new:  # on no branch, since its branch was squashed or deleted
            self._branch(f"mirror-of-{commit}", commit)
        elif commit not in self._ids:  # a mirror that was killed had come as far
            met = {made.commit_id for made in self._source.history(commit)}
            self._ids |= met & self.new.keys()
        if there != self.new[commit]:
            if there is not None:
                target.api.delete_tag(target.repo, tag=name, repo_type=target.type)
            target.api.create_tag(
                target.repo, tag=name, revision=self.new[commit], repo_type=target.type
            )

    def _branch(self, name: str, tip: str) -> None:
        """Brings a branch to where it is in the source, commit by commit."""
        chain = self._source.history(tip)
        ids = [commit.commit_id for commit in chain]
        head = self._heads.get(name)
        if head is None:
            known = [position for position, commit in enumerate(ids) if commit in self.new]
            start = known[-1] if known else -1
            head = self.new[ids[start]] if known else self._root
            self._target.api.create_branch(
                self._target.repo, branch=name, revision=head, repo_type=self._target.type
            )
        elif (origin := self._repeats.get(head)) in ids:
            start = ids.index(str(origin))
        elif head == self._root:
            start = -1
        else:
            raise HubError(
                f"{self._target.name}: branch {name} of {self._target.api.endpoint} has commits "
                "that the source has not; delete the branch or the repository there, and mirror "
                "it again"
            )
        there = self._source.files(ids[start]) if start >= 0 else self._target.files(head)
        if start >= 0:  # perhaps the last act of a mirror that was killed
            self._check(head, there)
        for position, commit in enumerate(ids[: max(start, 0)]):
            # One that changed nothing was not repeated: it stands for what was before it.
            before = self.new[ids[position - 1]] if position else self._root
            self.new.setdefault(commit, before)
        self._ids.update(ids)
        for repeated in chain[start + 1 :]:
            self._show.step(f"{self._target.name} {name}: {repeated.title}")
            wanted = self._source.files(repeated.commit_id)
            head = self._repeat(name, repeated, head, there, wanted)
            there = wanted
        self._heads[name] = head

    def _repeat(
        self,
        branch: str,
        commit: GitCommitInfo,
        head: str,
        there: dict[str, File],
        wanted: dict[str, File],
    ) -> str:
        """Makes a commit with the changes of one in the source; one without any is `head`."""
        changed = {path: file for path, file in wanted.items() if there.get(path) != file}
        gone = [path for path in there if path not in wanted]
        if changed or gone:
            self._send_big(commit.commit_id, branch, changed)
            additions = [self._addition(commit.commit_id, *item) for item in changed.items()]
            body = commit.message.partition(MIRROR_OF)[0].strip()
            made = self._target.api.create_commit(
                self._target.repo,
                [*(CommitOperationDelete(path, is_folder=False) for path in gone), *additions],
                commit_message=commit.title or "(no title)",
                commit_description=f"{body}\n\n{MIRROR_OF}{commit.commit_id}".strip(),
                repo_type=self._target.type,
                revision=branch,
                parent_commit=head,
            )
            head = made.oid
            self.commits += 1
            self._check(head, wanted)
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._repeats[head] = commit.commit_id
        self.new[commit.commit_id] = head
        return head

    def _send_big(self, commit: str, branch: str, changed: dict[str, File]) -> None:
        """Sends those big files of a commit that the target lacks."""
        big = {file.oid: (path, file) for path, file in changed.items() if file.is_big}
        missing = self._target.missing(big)
        for batch in groups(missing, (lambda item: item[1].size, _BATCH_BYTES)):
            additions = []
            for path, file in batch:
                addition = CommitOperationAdd(path, self._fetch(commit, path, file))
                addition.upload_info.sha256 = bytes.fromhex(file.oid)
                addition._upload_mode = "lfs"
                additions.append(addition)
            self._target.api.preupload_lfs_files(
                self._target.repo, additions, repo_type=self._target.type, revision=branch
            )
            self.files += len(batch)
            self.bytes += sum(file.size for _, file in batch)
            shutil.rmtree(self._scratch)

    def _addition(self, commit: str, path: str, file: File) -> CommitOperationAdd:
        """A file of a commit, big or not as it was in the source."""
        if not file.is_big:
            addition = CommitOperationAdd(path, self._fetch(commit, path, file))
            addition._upload_mode = "regular"
            return addition
        addition = CommitOperationAdd(path, b"")  # it is there: digest and size are enough
        addition.upload_info = info(file)
        addition._upload_mode = "lfs"
        addition._is_uploaded = True
        return addition

    def _fetch(self, commit: str, path: str, file: File) -> Path:
        fetched = self._source.fetch(commit, path, file, self._scratch)
        self._show.passed(file.size)
        return fetched

    def _check(self, commit: str, wanted: dict[str, File]) -> None:
        """The target's commit holds these files and no others, by their digests."""
        there = self._target.files(commit)
        for path in sorted({*there, *wanted} - {_HUBS_OWN}):
            if there.get(path) != wanted.get(path):
                raise HubError(
                    f"{self._target.at(commit[:12])}: {path} is not the source's file; delete "
                    "the branch or the repository there, and mirror it again"
                )

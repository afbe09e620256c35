"""Big files of a repository: which there are, and taking some out of its whole history."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import cast

from dulwich.objects import Commit, ObjectID, Tag, Tree

from moxin_hub import tree
from moxin_hub.repository import Reference, Repository

_BASES = ("refs/heads/", "refs/tags/", "refs/pr/", "refs/convert/")


def big_files(repository: Repository) -> Iterator[tuple[Reference, tree.Entry]]:
    """Each big file that a reference's own tree has, once, with the first reference to have it."""
    seen: set[ObjectID] = set()
    for base in _BASES:
        for reference in repository.references(base):
            commit = repository.objects.commit(ObjectID(reference.commit.encode()))
            for entry in tree.walk(repository.objects, commit.tree, "", recursive=True):
                if entry.is_folder or entry.oid in seen:
                    continue
                if repository.objects.content(entry.oid).lfs is not None:
                    seen.add(entry.oid)
                    yield reference, entry


def purge(repository: Repository, blobs: Set[ObjectID]) -> None:
    """Rewrites every reference's history without these blobs; the ids of its commits change.

    The bytes stay until the collector of garbage finds that no repository refers to them.
    """
    with repository.lock:
        writer = _Rewriter(repository, blobs)
        for base in _BASES:
            for reference in repository.references(base):
                old = repository.target(reference.ref)
                new = writer.reference(old) if old is not None else None
                if old is not None and new is not None and new != old:
                    repository.move(reference.ref, old, new)


@dataclass
class _Rewriter:
    """Old → new ids of commits and trees, each rewritten once."""

    repository: Repository
    blobs: Set[ObjectID]
    commits: dict[ObjectID, ObjectID] = field(default_factory=dict)
    trees: dict[ObjectID, ObjectID | None] = field(default_factory=dict)

    def reference(self, sha: ObjectID) -> ObjectID:
        """What a reference to `sha`, a commit or an annotated tag, has to point at."""
        thing = self.repository.objects.get(sha)
        if isinstance(thing, Tag) and (commit := self.repository.objects.peel(sha)):
            new = self._commit(commit)
            if new == commit:
                return sha
            copy = cast(Tag, thing.copy())
            copy.object = (Commit, new)
            return self.repository.objects.add(copy)
        return self._commit(sha)

    def _commit(self, start: ObjectID) -> ObjectID:
        """Parents before children, without recursion: histories are long."""
        pending = [start]
        while pending:
            sha = pending[-1]
            commit = self.repository.objects.commit(sha)
            missing = [parent for parent in commit.parents if parent not in self.commits]
            if sha in self.commits or not missing:
                pending.pop()
                self.commits.setdefault(sha, self._rewrite(commit))
            pending += missing if sha not in self.commits else []
        return self.commits[start]

    def _rewrite(self, commit: Commit) -> ObjectID:
        root = self._tree(commit.tree) or self.repository.objects.add(Tree())
        parents = [self.commits[parent] for parent in commit.parents]
        if (root, parents) == (commit.tree, commit.parents):
            return commit.id
        copy = cast(Commit, commit.copy())
        copy.tree, copy.parents = root, parents
        return self.repository.objects.add(copy)

    def _tree(self, sha: ObjectID) -> ObjectID | None:
        """The tree without the blobs; None if nothing is left of it."""
        if sha not in self.trees:
            kept = Tree()
            for name, mode, item in self.repository.objects.tree(sha).iteritems():
                new = self._tree(item) if stat.S_ISDIR(mode) else item
                if new is not None and new not in self.blobs:
                    kept.add(name, mode, new)
            self.trees[sha] = self.repository.objects.add(kept) if len(kept) else None
        return self.trees[sha]

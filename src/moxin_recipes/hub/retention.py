"""Which intermediate checkpoints stay on the Hub: the rule of the key `keep_checkpoints`."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from moxin_recipes.hub.pull import INCOMING, manifest_told
from moxin_recipes.hub.session import api, errors, qualified

log = logging.getLogger(__name__)


def step(branch: str) -> int:
    """The step of a checkpoint's branch, `[STAGE-]step-000100`."""
    return int(branch.rpartition("-")[2])


@dataclass(frozen=True)
class Retention:
    """The last `keep` checkpoints of a run stay, each of which is a branch; None keeps all."""

    keep: int | None = None

    def stay(self, branches: Iterable[str]) -> list[str]:
        """The branches of one run that stay, in the order of their steps."""
        ordered = sorted(branches, key=step)
        return ordered[-self.keep :] if self.keep else ordered

    def prune(self, repo: str, repo_type: str, branch: str, key: str) -> None:
        """Deletes the branches on the Hub that do not stay.

        It looks at those of the same run only: their name differs from `branch` in the step alone,
        and their manifest has the same `key`. What an upload that was stopped left of an earlier
        step, and of which nobody knows whose it is, goes too: it would be uploaded anew.
        """
        if not self.keep:
            return
        repo = qualified(repo)
        with errors(repo):
            refs = api().list_repo_refs(repo, repo_type=repo_type).branches
        alike = re.compile(re.sub(r"\d+$", r"\\d+", re.escape(branch)))
        same_run, left = [], []
        for ref in refs:
            name = ref.name.removeprefix(INCOMING)
            if name != ref.name and alike.fullmatch(name) and step(name) < step(branch):
                left.append(ref.name)
            if alike.fullmatch(ref.name):
                told = manifest_told(repo, repo_type, ref.target_commit) or {}
                if told.get("key") == key:
                    same_run.append(ref.name)
        for old in (*left, *sorted(set(same_run) - set(self.stay(same_run)), key=step)):
            with errors(f"{repo}@{old}"):
                api().delete_branch(repo, branch=old, repo_type=repo_type)
            log.info("deleted %s@%s (`keep_checkpoints: %d`)", repo, old, self.keep)

"""Which intermediate checkpoints stay on the Hub: the rule of the key `keep_checkpoints`."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from moxin_recipes.hub.pull import INCOMING, STATE, manifest_told
from moxin_recipes.hub.session import api, errors, qualified

log = logging.getLogger(__name__)


def step(branch: str) -> int:
    """The step of a checkpoint's branch, `[state-][STAGE-]step-000100`."""
    return int(branch.rpartition("-")[2])


def in_order(branches: Iterable[str]) -> list[str]:
    """Branches by their steps; the state of a training after the weights, which it has too."""
    return sorted(branches, key=lambda branch: (step(branch), branch.startswith(STATE)))


def alike(branch: str) -> re.Pattern[str]:
    """Matches the names that differ from `branch` in the step alone."""
    return re.compile(re.sub(r"\d+$", r"\\d+", re.escape(branch)))


def of_run(repo: str, repo_type: str, branch: str, key: str) -> dict[str, str]:
    """Branch → payload of a run's checkpoints on the Hub, in order.

    Their names differ from `branch` in the step alone, and their manifests have the same `key`.
    """
    repo = qualified(repo)
    with errors(repo):
        refs = api().list_repo_refs(repo, repo_type=repo_type).branches
    found = {}
    for ref in refs:
        if alike(branch).fullmatch(ref.name):
            told = manifest_told(repo, repo_type, ref.target_commit) or {}
            if told.get("key") == key and "payload" in told:
                found[ref.name] = str(told["payload"])
    return {name: found[name] for name in in_order(found)}


@dataclass(frozen=True)
class Retention:
    """The last `keep` checkpoints of a run stay, each of which is a branch; None keeps all."""

    keep: int | None = None

    def stay(self, branches: Iterable[str]) -> list[str]:
        """The branches of one run that stay, in their order: so many of weights, and of states."""
        ordered = in_order(branches)
        if not self.keep:
            return ordered
        kinds = [[b for b in ordered if b.startswith(STATE) == state] for state in (False, True)]
        kept = {branch for kind in kinds for branch in kind[-self.keep :]}
        return [branch for branch in ordered if branch in kept]

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
        same_name, left = alike(branch), []
        for ref in refs:
            name = ref.name.removeprefix(INCOMING)
            if name != ref.name and same_name.fullmatch(name) and step(name) < step(branch):
                left.append(ref.name)
        same_run = of_run(repo, repo_type, branch, key)
        for old in (*left, *sorted(set(same_run) - set(self.stay(same_run)), key=step)):
            with errors(f"{repo}@{old}"):
                api().delete_branch(repo, branch=old, repo_type=repo_type)
            log.info("deleted %s@%s (`keep_checkpoints: %d`)", repo, old, self.keep)

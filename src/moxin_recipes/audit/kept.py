"""The checkpoints that a stage left on the Hub: those of its manifest, or of another run of it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from moxin_recipes.audit.served import Revision
from moxin_recipes.hub.retention import alike


def compared(
    revision: Revision, told: dict[str, Any], there: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Faults of the checkpoints that `told` lists, and what of them cannot be told any more.

    `there` is name → commit of the repository's branches and tags. A stage that runs again with
    another recipe, or other inputs, gives its checkpoints the names of the former ones, and
    `keep_checkpoints` may delete them later. Raises HubError where the Hub does not answer.
    """
    repo, listed = revision.pin.repo, told.get("checkpoints") or {}
    found = _told(revision, listed, there)
    others = {name for name, one in found.items() if _is_other_run(one, told)}
    faults, left = [], []
    for name, payload in listed.items():
        if name in others or (others and name not in there):
            left.append(
                f"{repo}: `{name}`, which {revision.place} lists: its stage ran again with "
                "another recipe or other inputs, and took the names of its checkpoints"
            )
        elif name not in there:
            faults.append(f"{repo}: `{name}` is gone; {revision.place} lists it")
        elif found[name].get("payload") != payload:
            faults.append(f"{repo}: `{name}` is another one than {revision.place} lists")
    if listed:
        left.append(f"{repo}: the files of its checkpoints (`moxin verify REPO@BRANCH`)")
    return faults, left


def _told(
    revision: Revision, listed: Iterable[str], there: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What the manifests say at the names that differ from those listed in the step alone."""
    named = {alike(name) for name in listed}
    pins = (
        replace(revision.pin, revision=name, commit=commit)
        for name, commit in there.items()
        if any(pattern.fullmatch(name) for pattern in named)
    )
    return {pin.revision: Revision.of(pin).manifest() or {} for pin in pins}


def _is_other_run(one: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a manifest is that of another run of the stage of `told`."""
    same_stage = one.get("recipe_name") == told.get("recipe_name")
    return same_stage and isinstance(one.get("key"), str) and one["key"] != told["key"]

"""What a release's index names, as the Hub has it now: files, cards and licences of each commit.

Lists of files are asked of the Hub each time. The client's cache would go on showing what was
deleted there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import RepoCard

from moxin_recipes.hub import licences
from moxin_recipes.hub.licences import Part
from moxin_recipes.hub.manifest import CARD
from moxin_recipes.hub.pull import Parent, manifest_told, read_text, resolve
from moxin_recipes.hub.session import MissingError, api, errors, qualified
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError

INDEX = "release.json"


@dataclass(frozen=True)
class Artifact:
    """A repository at a commit: its place among `at` of the components, and what it holds."""

    parent: Parent
    at: str  # release, models, earlier (also one of models), datasets or scores
    files: tuple[str, ...]
    card: str  # the whole README.md, metadata included
    parts: tuple[Part, ...]
    private: bool

    @property
    def body(self) -> str:
        """The card's text without its metadata."""
        return str(_card(self.card).text).strip()

    def place(self, path: str) -> str:
        """`repo@commit:path`."""
        return f"{self.parent.repo}@{self.parent.commit}:{path}"


@dataclass
class Release:
    """The release, all that its index names, and what of it is not on the Hub any more."""

    artifacts: list[Artifact]
    gone: list[str] = field(default_factory=list)

    @property
    def own(self) -> Artifact:
        """The release's own repository."""
        return self.artifacts[0]

    def at(self, places: tuple[str, ...]) -> Iterator[Artifact]:
        """The artifacts of these places, in the order of the index."""
        for artifact in self.artifacts:
            of = {artifact.at, "all"} | ({"models"} if artifact.at == "earlier" else set())
            if of & set(places):
                yield artifact


def read(written: str) -> Release:
    """The release REPOSITORY[@REVISION].

    Raises:
        RecipeError: it has no index.
        HubError: there is no such repository or revision, or the Hub is away.
    """
    repo, _, revision = written.partition("@")
    parent = resolve(Reference("--openness", "model", qualified(repo), revision or "main"))
    release = Release([_artifact(parent, "release")])
    entries = _entries(parent, release.own)
    last = max((n for n, entry in enumerate(entries) if entry["type"] == "model"), default=-1)
    for number, entry in enumerate(entries):
        reference = Reference(INDEX, entry["type"], entry["repo"], entry["commit"])
        try:
            found = resolve(reference)
            at = "datasets" if entry["type"] == "dataset" else "earlier"
            release.artifacts.append(_artifact(found, "models" if number == last else at))
        except MissingError:
            release.gone.append(f"{entry['repo']}@{entry['commit']} ({entry['type']})")
    return release


def _entries(parent: Parent, own: Artifact) -> list[dict[str, str]]:
    """The lines of the index; those of an older one have all that is read of them, too."""
    if INDEX not in own.files:
        raise RecipeError(
            f"--openness: {parent.repo} has no {INDEX}; name the repository that the stage "
            "`release` pushes"
        )
    try:
        entries = json.loads(read_text(parent.repo, parent.type, parent.commit, INDEX) or "")
        return [{name: str(e[name]) for name in ("type", "repo", "commit")} for e in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"--openness: {own.place(INDEX)} is no index of a release") from error


def _artifact(parent: Parent, at: str) -> Artifact:
    with errors(f"{parent.repo}@{parent.commit[:12]}"):
        info = api().repo_info(parent.repo, repo_type=parent.type, revision=parent.commit)
        files = api().list_repo_files(parent.repo, repo_type=parent.type, revision=parent.commit)
    card = _text(parent, CARD) if CARD in files else ""
    made = manifest_told(parent.repo, parent.type, parent.commit) or {}
    scores = at == "datasets" and made.get("stage") == "evaluate"
    return Artifact(
        parent=parent,
        at="scores" if scores else at,
        files=tuple(sorted(files)),
        card=card,
        parts=tuple(_parts(parent, card, made)),
        private=bool(info.private),
    )


def _text(parent: Parent, path: str) -> str:
    """A small file; nothing where it is no text."""
    try:
        return read_text(parent.repo, parent.type, parent.commit, path) or ""
    except UnicodeDecodeError:
        return ""


def _card(text: str) -> RepoCard:
    return RepoCard(text, ignore_metadata_errors=True)


def _parts(parent: Parent, card: str, made: dict[str, Any]) -> list[Part]:
    """The licences that a repository is under: those of its manifest, if its card says the same.

    A card that says nothing, or another licence than the manifest, leaves the licence unknown.
    """
    parts = licences.of_parent(parent)
    if not made:
        return parts
    stated = _card(card).data.to_dict().get("license")
    expected = licences.metadata(licences.listed(parts))["license"]
    if stated == expected:
        return parts
    said = f"says `license: {stated}`" if stated else "states no licence"
    where = f"{parent.repo}@{parent.commit[:12]}: its {CARD} {said}, its moxin.json {expected}"
    return [Part(licences.UNKNOWN, where)]

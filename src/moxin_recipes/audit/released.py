"""What a release's index names, as the Hub has it now: files, cards and licences of each commit.

Lists of files are asked of the Hub each time. The client's cache would go on showing what was
deleted there.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from moxin_recipes.hub import licences
from moxin_recipes.hub.licences import Part
from moxin_recipes.hub.manifest import CARD, MANIFEST
from moxin_recipes.hub.pull import Parent, read_manifest, read_text, resolve
from moxin_recipes.hub.releases import INDEX
from moxin_recipes.hub.session import MissingError, api, errors, qualified
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError


@dataclass(frozen=True)
class Artifact:
    """A repository at a commit: its place among `at` of the components, and what it holds."""

    parent: Parent
    at: str  # release, models, earlier (also one of models), datasets or scores
    files: tuple[str, ...]
    card: str  # the whole README.md, metadata included
    parts: tuple[Part, ...]
    private: bool

    @classmethod
    def of(
        cls,
        parent: Parent,
        at: str,
        files: Iterable[str],
        card: str,
        made: dict[str, Any] | None,
        *,
        private: bool,
    ) -> "Artifact":
        """What is at a commit: its files, its card and its manifest, if it has one.

        `at` is where the index has it; a dataset that the stage `evaluate` made are scores.
        """
        scores = at == "datasets" and (made or {}).get("stage") == "evaluate"
        parts = _parts(f"{parent.repo}@{parent.commit[:12]}", card, made)
        where = "scores" if scores else at
        return cls(parent, where, tuple(sorted(files)), card, tuple(parts), private)

    @property
    def body(self) -> str:
        """The card's text without its metadata."""
        return licences.read_card(self.card)[1].strip()

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
        named = [{name: str(e[name]) for name in ("type", "repo", "commit")} for e in entries]
        if any(entry["type"] not in ("model", "dataset") for entry in named):
            raise ValueError("a type that no stage pushes")
        return named
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError(f"--openness: {own.place(INDEX)} is no index of a release") from error


def _artifact(parent: Parent, at: str) -> Artifact:
    about = api().model_info if parent.type == "model" else api().dataset_info
    with errors(f"{parent.repo}@{parent.commit[:12]}"):
        info = about(parent.repo, revision=parent.commit)
    files = [sibling.rfilename for sibling in info.siblings or []]
    card = _text(parent, CARD) if CARD in files else ""
    made = read_manifest(parent.repo, parent.type, parent.commit) if MANIFEST in files else None
    return Artifact.of(parent, at, files, card, made, private=bool(info.private))


def _text(parent: Parent, path: str) -> str:
    """A small file; nothing where it is no text."""
    try:
        return read_text(parent.repo, parent.type, parent.commit, path) or ""
    except UnicodeDecodeError:
        return ""


def _parts(place: str, card: str, made: dict[str, Any] | None) -> list[Part]:
    """The licences that a repository is under: those of its manifest, if its card says the same.

    A card that says nothing, or another licence than the manifest, leaves the licence unknown.
    """
    if made is not None and not licences.is_listed(made.get("licenses", [])):
        return [Part(licences.UNKNOWN, f"{place}: its {MANIFEST} has no licences that can be read")]
    parts = licences.parts_of(place, made, card)
    stated = licences.read_card(card)[0].get("license")
    expected = licences.metadata(licences.listed(parts))["license"]
    if made is None or stated == expected:
        return parts
    said = f"says `license: {stated}`" if stated else "states no licence"
    return [Part(licences.UNKNOWN, f"{place}: its {CARD} {said}, its {MANIFEST} {expected}")]

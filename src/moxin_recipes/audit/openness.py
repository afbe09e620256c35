"""Which class of the Model Openness Framework a release has, and what is missing for the next.

A component is *found* where a file of it is on the Hub, *declared* where a card speaks of it and no
file is there, else *missing*. A class holds where each component that it wants is found under open
licences. Nothing counts that is not on the Hub.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from moxin_recipes.audit import framework
from moxin_recipes.audit.framework import PAPER, REPORT, Component
from moxin_recipes.audit.released import Artifact, Release
from moxin_recipes.hub.licences import UNKNOWN, Part
from moxin_recipes.hub.manifest import CARD


@dataclass(frozen=True)
class Place:
    """Where a component was found: the first file of it in a repository, and how many more."""

    artifact: Artifact
    path: str
    more: int

    def __str__(self) -> str:
        """As the report has it."""
        more = f" (and {self.more} more)" if self.more else ""
        return self.artifact.place(self.path) + more


@dataclass(frozen=True)
class Finding:
    """What there is of a component, and why it does not count."""

    component: Component
    places: tuple[Place, ...] = ()
    declared: str = ""  # where, and what is said there
    lacking: tuple[str, ...] = ()  # repositories without it, where each one must have it

    @property
    def state(self) -> str:
        """found, declared or missing."""
        if self.places:
            return "found"
        return "declared" if self.declared else "missing"

    @property
    def parts(self) -> list[Part]:
        """The licences of all places, each once."""
        return sorted({part for place in self.places for part in place.artifact.parts})

    @property
    def license(self) -> str:
        """The licences' names as one expression; `unknown` where one is not stated."""
        return " AND ".join(sorted({framework.spdx(part.license) for part in self.parts}))

    @property
    def refused(self) -> list[Part]:
        """Parts under a licence that the framework does not take, or under none."""
        kind = self.component.kind
        return [part for part in self.parts if framework.accepts(part.license, kind) is False]

    @property
    def of_another_kind(self) -> list[str]:
        """Licences that are open, and count, though they are not made for this kind."""
        kind = self.component.kind
        names = {p.license for p in self.parts if framework.accepts(p.license, kind) is None}
        return sorted(framework.spdx(name) for name in names)

    @property
    def counts(self) -> bool:
        """Whether it is there, all of it, under open licences."""
        return bool(self.places and self.parts) and not self.refused and not self.lacking

    @property
    def reason(self) -> str:
        """Why it does not count, in one line; nothing where it does."""
        if not self.places:
            return f"declared only: {self.declared}" if self.declared else "missing"
        reasons = [f"not in {', '.join(self.lacking)}"] if self.lacking else []
        named: dict[str, list[str]] = {}
        for part in self.refused:
            named.setdefault(part.license, []).append(part.of)
        if unstated := named.pop(UNKNOWN, []):
            reasons.append(f"licence not stated: {_first(unstated)}")
        if named:
            refused = (f"{license} ({_first(of)})" for license, of in named.items())
            reasons.append(f"licence not accepted: {', '.join(refused)}")
        return "; ".join(reasons)


def _first(of: list[str]) -> str:
    return f"{of[0]} and {len(of) - 1} more" if len(of) > 1 else of[0]


def findings(release: Release) -> list[Finding]:
    """All components, in the framework's order."""
    return [_finding(component, release) for component in framework.components()]


def _finding(component: Component, release: Release) -> Finding:
    looked_at = list(release.at(component.at))
    places = tuple(
        Place(artifact, matching[0], len(matching) - 1)
        for artifact in looked_at
        if (matching := _matching(component, artifact))
    )
    having = {place.artifact.parent.repo for place in places}
    lacking = [a.parent.repo for a in looked_at if a.parent.repo not in having]
    return Finding(
        component,
        places,
        declared="" if places else next(_declared(component, release), ""),
        lacking=tuple(dict.fromkeys(lacking)) if component.each else (),
    )


def _matching(component: Component, artifact: Artifact) -> list[str]:
    """Files of the component; a card without a text is none."""
    found = [p for p in artifact.files if component.files.search(p.replace("_", "-"))]
    return [path for path in found if path != CARD or artifact.body]


def _declared(component: Component, release: Release) -> Iterator[str]:
    for artifact in release.artifacts:
        if said := component.says.search(artifact.card):
            words = " ".join(said.group().split())
            yield f"{artifact.place(CARD)} says `{words}`"


def wanted(number: int, found: list[Finding]) -> list[Finding]:
    """What a class wants; the report is not wanted where the research paper counts."""
    paper = next(one for one in found if one.component.name == PAPER)
    return [
        one
        for one in found
        if one.component.required
        and one.component.of_class >= number
        and not (one.component.name == REPORT and paper.counts)
    ]


def holding(found: list[Finding]) -> int:
    """The best class that holds: 1, 2 or 3; 0 where none does."""
    held = 0
    for number in framework.classes():
        if not all(one.counts for one in wanted(number, found)):
            break
        held = number
    return held


def lines(release: Release, found: list[Finding]) -> Iterator[str]:
    """The report, line by line."""
    own = release.own.parent
    yield f"{own.repo}@{own.commit}"
    for one in found:
        component = one.component
        state = one.state if one.counts or one.state != "found" else "found, but"
        optional = "" if component.required else ", optional"
        yield f"{state:10} {component.name} ({component.kind}{optional})"
        yield from (f"{'':13}{place}" for place in one.places)
        if one.counts:
            yield f"{'':13}licence: {one.license}"
            if names := one.of_another_kind:
                yield f"{'':13}open, but not made for {component.kind}: {', '.join(names)}"
        elif one.state != "missing":
            yield f"{'':13}{one.declared or one.reason}"
    yield from (f"not on the Hub: {place}" for place in release.gone)
    closed = sorted({a.parent.repo for a in release.artifacts if a.private})
    if closed:
        yield f"private, so nobody else sees it: {', '.join(closed)}"
    yield from _verdict(found)


def _verdict(found: list[Finding]) -> Iterator[str]:
    names = framework.classes()
    held = holding(found)
    yield f"class: {names.get(held, 'none')}"
    if held == 1:
        return
    following = 3 if held == 0 else held - 1
    yield f"missing for {names[following]}:"
    for one in wanted(following, found):
        if not one.counts:
            yield f"  {one.component.name}: {one.reason}"

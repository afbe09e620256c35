"""Is all of it still what it was? A revision and everything that it was made of, read anew.

The walk goes from a revision over the parents of its manifest, and over what a release's index
pins, to repositories that were made from nothing on a Hub.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from moxin_recipes.audit import kept, stated, told_by
from moxin_recipes.audit.served import Read, Revision, here
from moxin_recipes.hub.manifest import CARD, EVAL_RESULTS, MANIFEST, payload_digest
from moxin_recipes.hub.pull import Parent, resolve
from moxin_recipes.hub.releases import INDEX
from moxin_recipes.hub.session import AwayError, HubError, MissingError, qualified
from moxin_recipes.hub.side import File
from moxin_recipes.recipe.fields import Reference

_WORKERS = 8  # files at a time
_BESIDE = (CARD, MANIFEST, ".gitattributes")  # never in a manifest
_COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKPOINT = re.compile(r"(^|-)step-\d+$")  # how the branch of one ends
Where = tuple[str, str, str]  # type, repository, commit as it is pinned


@dataclass
class Report:
    """What was found; without `faults` everything is as its manifests say."""

    faults: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    revisions: int = 0
    files: int = 0
    size: int = 0  # bytes that were read

    def fault(self, text: str) -> None:
        """Keeps a fault, once."""
        if text not in self.faults:
            self.faults.append(text)

    def leave(self, text: str) -> None:
        """Keeps what could not be checked, once."""
        if text not in self.unchecked:
            self.unchecked.append(text)


@dataclass(frozen=True)
class _Visited:
    repo: str  # on this Hub, and its commit there
    commit: str
    payload: str


def start(written: str) -> Parent:
    """The pin of REPOSITORY[@REVISION], a model or else a dataset.

    Raises HubError if there is neither.
    """
    name, _, revision = written.partition("@")
    repo, revision = qualified(name), revision or "main"
    try:
        return resolve(Reference(written, "model", repo, revision))
    except MissingError:
        raise
    except HubError:  # a repository of the other type
        return resolve(Reference(written, "dataset", repo, revision))


class Walk:
    """One verification; `alive` asks whether files answer, and reads manifests alone."""

    def __init__(self, *, alive: bool = False) -> None:
        self.report = Report()
        self._alive = alive
        self._visited: dict[Where, _Visited | None] = {}
        self._references: dict[tuple[str, str], dict[str, str]] = {}

    def run(self, first: Parent, *, alone: bool = False) -> Iterator[str]:
        """Walks, and yields a line for each revision that is done; `alone` leaves out parents."""
        todo, home = [(first, "")], first.repo.partition("/")[0]
        while todo:
            pin, by = todo.pop()
            where = (pin.type, pin.repo, pin.commit)
            if where not in self._visited:
                self._visited[where] = None
                if revision := self._found(pin, by, home):
                    parents = self._visit(revision, where)
                    todo += [] if alone else [(parent, revision.place) for parent in parents]
                    yield f"{revision.place}  {pin.revision}, {len(revision.files)} files"
            self._check_pin(pin, by, self._visited[where])

    def _found(self, pin: Parent, by: str, home: str) -> Revision | None:
        try:
            found = here(pin, home)
            if found.repo != pin.repo:
                self.report.leave(f"{pin.repo}: it is not here, and {found.repo} repeats it")
            return Revision.of(found)
        except AwayError:
            raise
        except MissingError:
            made = f"; {by} was made of it (`{pin.key}`)" if by else ""
            self.report.fault(
                f"{pin.repo}@{pin.commit[:12]}: it is not on the Hub, or closed to this token{made}"
            )
        except HubError as error:
            self.report.fault(str(error))
        return None

    def _visit(self, revision: Revision, where: Where) -> list[Parent]:
        """Checks a revision by itself; its parents."""
        self.report.revisions += 1
        repo = revision.pin.type, revision.pin.repo
        if repo not in self._references:
            self._references[repo] = revision.references()
        read = self._read(revision)
        try:
            told = revision.manifest()
            pinned = revision.json(INDEX)
        except HubError as error:
            self.report.fault(str(error))
            return []
        if told is None and self._is_of_stages(revision):
            self.report.fault(f"{revision.place}: it has no {MANIFEST}, and a stage made it")
            return []
        if told is None:
            self._visited[where] = _Visited(revision.pin.repo, revision.commit, revision.payload)
            self.report.leave(f"{revision.place}: what it was made of; it has no {MANIFEST}")
            return []
        parents = told_by.parents(told.get("parents"))
        if parents is None or not told_by.is_whole(told):
            self.report.fault(f"{revision.place}:{MANIFEST}: it is no whole manifest")
            return []
        self._visited[where] = _Visited(revision.pin.repo, revision.commit, told["payload"])
        self._check_manifest(revision, told, read)
        self._check_beside(revision, told)
        if pinned is not None and pinned != told.get("parents"):
            self.report.fault(f"{revision.place}:{INDEX}: it is not what its {MANIFEST} lists")
        for source, names in (told.get("distributions") or {}).items():
            came = f"{len(names)} packages" if len(names) > 1 else "".join(names)
            self.report.leave(f"that the source {source} is the text of {came}")
        return parents + (told_by.parents(pinned) or [])

    def _is_of_stages(self, revision: Revision) -> bool:
        there = self._references[revision.pin.type, revision.pin.repo]
        return INDEX in revision.files or any(name.startswith("done-") for name in there)

    def _read(self, revision: Revision) -> dict[str, Read]:
        """Reads all files, or asks for them; those that came, and a fault for each other one."""

        def one(path: str) -> Read | str | None:
            try:
                if not self._alive:
                    return revision.read(path)
                revision.ask(path)
            except HubError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(_WORKERS) as pool:
            answers = dict(zip(revision.files, pool.map(one, revision.files), strict=True))
        self.report.files += len(answers)
        came = {path: answer for path, answer in answers.items() if isinstance(answer, Read)}
        for answer in answers.values():
            if isinstance(answer, str):
                self.report.fault(answer)
        for path, found in came.items():
            self.report.size += found.size
            listed = revision.files[path]
            if (found.size, found.oid) != (listed.size, listed.oid):
                self.report.fault(
                    f"{revision.place}:{path}: what the Hub serves is not what its commit holds"
                )
        return came

    def _check_manifest(
        self, revision: Revision, told: dict[str, Any], read: dict[str, Read]
    ) -> None:
        """Files and payload are those of the manifest, and its stage pushed this manifest."""
        place, files = revision.place, told["files"]
        for path, wanted in files.items():
            found = read.get(path)
            if path not in revision.files:
                self.report.fault(f"{place}:{path}: its {MANIFEST} lists it, and it is not there")
            elif found and (found.sha256, found.size) != (wanted["sha256"], wanted["size"]):
                self.report.fault(f"{place}:{path}: it is not the file of its {MANIFEST}")
        for path in revision.files:
            if (
                path not in files
                and path not in _BESIDE
                and not path.startswith(f"{EVAL_RESULTS}/")
            ):
                self.report.fault(f"{place}:{path}: its {MANIFEST} does not list it")
        if payload_digest(files) != told["payload"]:
            self.report.fault(f"{place}:{MANIFEST}: its payload is not that of its files")

    def _check_beside(self, revision: Revision, told: dict[str, Any]) -> None:
        """Its card, its checkpoints, and what its stage pushed, each as far as the Hub answers."""
        for check in (self._check_card, self._check_done, self._check_checkpoints):
            try:
                check(revision, told)
            except HubError as error:
                self.report.fault(str(error))

    def _check_card(self, revision: Revision, told: dict[str, Any]) -> None:
        if CARD not in revision.files:
            self.report.fault(f"{revision.place}:{CARD}: its stage pushed one, and it is not there")
        elif not self._alive:
            for text in stated.faults(revision.text(CARD), told):
                self.report.fault(f"{revision.place}:{CARD}: {text}")

    def _check_checkpoints(self, revision: Revision, told: dict[str, Any]) -> None:
        there = self._references[revision.pin.type, revision.pin.repo]
        faults, left = kept.compared(revision, told, there)
        for text in faults:
            self.report.fault(text)
        for text in left:
            self.report.leave(text)

    def _check_done(self, revision: Revision, told: dict[str, Any]) -> None:
        """What is on main or under a tag has the manifest that was tagged when it was done."""
        there = self._references[revision.pin.type, revision.pin.repo]
        tag = f"done-{str(told['key'])[:12]}"
        name = revision.pin.revision
        if CHECKPOINT.search(name) or _COMMIT.fullmatch(name):
            return  # a checkpoint, or no name
        if tag not in there:
            self.report.fault(
                f"{revision.place}: no `{tag}` is in {revision.pin.repo}: its stage did not come "
                f"to its end, or its {MANIFEST} is another one"
            )
        elif there[tag] != revision.commit:
            done = Revision.of(replace(revision.pin, commit=there[tag]))
            if _made(done.files) != _made(revision.files):
                self.report.fault(
                    f"{revision.place}:{MANIFEST}: it is not the one that its stage pushed "
                    f"(`{tag}`, {there[tag][:12]})"
                )
            if not self._alive and {CARD} <= done.files.keys() & revision.files.keys():
                gone, more = stated.changes(revision.text(CARD), done.text(CARD))
                for text in gone:
                    self.report.fault(f"{revision.place}:{CARD}: {text}")
                if more:
                    self.report.leave(f"{revision.place}:{CARD}: {more} lines of its owner's")

    def _check_pin(self, pin: Parent, by: str, visited: _Visited | None) -> None:
        """The payload, and the name, of a pin are those that `by` recorded."""
        if visited is None or not by:
            return
        place = f"{pin.repo}@{pin.commit[:12]}"
        if visited.payload != pin.payload:
            self.report.fault(
                f"{place}: its payload is {visited.payload[:19]}, and {by} was made of "
                f"{pin.payload[:19]} (`{pin.key}`)"
            )
        there = self._references[pin.type, visited.repo].get(pin.revision)
        if pin.revision == "main" or _COMMIT.fullmatch(pin.revision):
            return
        if there is None:
            self.report.fault(f"{pin.repo}: `{pin.revision}` is gone; {by} pins it at {place}")
        elif there != visited.commit:
            self.report.fault(
                f"{pin.repo}: `{pin.revision}` has moved to {there[:12]}; {by} pins it at {place}"
            )


def _made(files: dict[str, File]) -> dict[str, File]:
    """What a stage made of a revision's files; scores and cards may come later."""
    beside = (CARD, ".gitattributes")
    return {
        p: f for p, f in files.items() if p not in beside and not p.startswith(f"{EVAL_RESULTS}/")
    }

"""What a Hub serves at a commit, asked and read each time: no cache of this machine has a say."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
from huggingface_hub import hf_hub_url, hf_raise_for_status

from moxin_recipes.hub import pull
from moxin_recipes.hub.manifest import MANIFEST, loads
from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.session import MissingError, api, errors
from moxin_recipes.hub.side import File, Side
from moxin_recipes.recipe.fields import Reference

_PIECE = 1 << 20  # bytes of a file in memory


@functools.cache
def _client() -> httpx2.Client:
    """A client that takes no for an answer: a file that the Hub cannot read is a finding."""
    return httpx2.Client(follow_redirects=True, timeout=60)


def here(pin: Parent, home: str) -> Parent:
    """A pin as this Hub has it: a mirror repeats a commit under another id.

    It may do so in another namespace, of which `home` is the one that is looked at. Raises
    MissingError where repository or commit are not on the Hub.
    """
    wanted = Reference(pin.key, pin.type, pin.repo, pin.commit)
    try:
        return replace(pin, commit=pull.commit_at(wanted, pin.repo))
    except MissingError:
        repo = f"{home}/{pin.repo.rpartition('/')[2]}"
        try:
            found = pull.commit_at(wanted, repo) if repo != pin.repo else pin.commit
        except MissingError:
            found = pin.commit
        if found == pin.commit:  # no repetition of it
            raise
        return replace(pin, repo=repo, commit=found)


@dataclass(frozen=True)
class Read:
    """The digests of a file as it came: of the content, and as a commit lists it (`File.oid`)."""

    size: int
    sha256: str
    oid: str


@dataclass
class Revision:
    """A repository at the commit of a pin of this Hub; `files` are those that its tree lists."""

    pin: Parent
    side: Side
    files: dict[str, File]

    @classmethod
    def of(cls, pin: Parent) -> "Revision":
        """Raises MissingError where repository or commit are not on the Hub."""
        side = Side(api(), pin.repo, pin.type)
        with errors(f"{pin.repo}@{pin.commit[:12]}"):
            return cls(pin, side, side.files(pin.commit))

    @property
    def commit(self) -> str:
        """Its commit on this Hub."""
        return self.pin.commit

    @property
    def place(self) -> str:
        """`repo@commit`, short."""
        return f"{self.pin.repo}@{self.commit[:12]}"

    @property
    def payload(self) -> str:
        """The payload digest of a repository without a manifest: that of its listing."""
        return pull.listed(self.pin.repo, self.pin.type, self.commit)

    def references(self) -> dict[str, str]:
        """Name → commit of its branches and tags; a tag before a branch."""
        with errors(self.pin.repo):
            branches, tags = self.side.references()
        return branches | tags

    def manifest(self) -> dict[str, Any] | None:
        """What its `moxin.json` says; None without one, nothing where it is no JSON object."""
        told = self.json(MANIFEST)
        return told if told is None or isinstance(told, dict) else {}

    def json(self, path: str) -> Any:
        """A JSON file; None without it, an empty list where it is no JSON."""
        if path not in self.files:
            return None
        try:
            return loads(b"".join(self._pieces(path)))
        except ValueError:
            return []

    def text(self, path: str) -> str:
        """A file as text; what is no UTF-8 in it is replaced."""
        return b"".join(self._pieces(path)).decode(errors="replace")

    def read(self, path: str) -> Read:
        """Reads a file of the tree to its end."""
        big = self.files[path].is_big
        size, content = 0, hashlib.sha256()
        blob = hashlib.sha1(b"blob %d\0" % self.files[path].size, usedforsecurity=False)
        for piece in self._pieces(path):
            size += len(piece)
            content.update(piece)
            if not big:
                blob.update(piece)
        digest = content.hexdigest()
        return Read(size, digest, digest if big else blob.hexdigest())

    def ask(self, path: str) -> None:
        """Asks whether a file answers, without its content. Raises HubError if it does not."""
        with errors(f"{self.place}:{path}"):
            api().get_hf_file_metadata(url=self._address(path))

    def _pieces(self, path: str) -> Iterator[bytes]:
        headers = api()._build_hf_headers()
        with (
            errors(f"{self.place}:{path}"),
            _client().stream("GET", self._address(path), headers=headers) as answer,
        ):
            hf_raise_for_status(answer)
            yield from answer.iter_bytes(_PIECE)

    def _address(self, path: str) -> str:
        side = self.side
        return hf_hub_url(
            side.repo, path, repo_type=side.type, revision=self.commit, endpoint=api().endpoint
        )

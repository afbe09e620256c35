"""The line of models that weights come from, one made from the other."""

from dataclasses import dataclass
from typing import Any

from moxin_recipes.hub.pull import Parent, read_manifest
from moxin_recipes.hub.session import HubError

_STARTS_FROM = ("model_name_or_path", "models")  # the key of the weights; of an average the first


@dataclass(frozen=True)
class Link:
    """A model of the line; its manifest is {} where these recipes did not make it."""

    repo: str
    revision: str
    manifest: dict[str, Any]

    @property
    def short(self) -> str:
        """Its name without the namespace, with the revision where one repository has several."""
        return f"{self.repo.rpartition('/')[2]}@{self.revision}"


def line(final: Parent) -> list[Link]:
    """From the first weights to `final`; it ends before what is not on this Hub any more."""
    found: list[Link] = []
    at: dict[str, str] | None = final.as_dict()
    while at and len(found) < 100:
        try:
            manifest = read_manifest(at["repo"], at["type"], at["commit"]) or {}
        except HubError:
            break
        found.append(Link(at["repo"], at["revision"], manifest))
        at = next((p for p in manifest.get("parents", []) if p["key"] in _STARTS_FROM), None)
    return found[::-1]

"""A release as a collection: one page of the Hub for all of its repositories."""

import logging
from collections.abc import Iterable
from typing import Literal, cast

from huggingface_hub.errors import HfHubHTTPError

from moxin_recipes.hub.session import HubError, api, errors, namespace

log = logging.getLogger(__name__)
_Kind = Literal["model", "dataset"]
_HAS_NONE = (404, 405, 501)


def collect(title: str, about: str, items: Iterable[tuple[str, str]], *, private: bool) -> None:
    """Makes the collection `title` of the namespace hold `items` (repository, type), in order.

    It stays what it is to others unless `private` is False, which opens it. A Hub without
    collections, or one that refuses, costs a line in the log: the release does not hang on it.
    """
    try:
        with errors(f"the collection {title}"):
            slug = _made(title, about, items, private)
    except HubError as error:
        log.warning("%s (the release goes on without its collection)", error)
        return
    if slug:
        log.info("the collection %s", slug)


def _made(title: str, about: str, items: Iterable[tuple[str, str]], private: bool) -> str | None:
    try:
        made = api().create_collection(
            title,
            namespace=namespace(),
            description=about[:150],  # the most that the Hub takes
            private=private,
            exists_ok=True,
        )
    except HfHubHTTPError as error:
        if error.response.status_code not in _HAS_NONE:
            raise
        log.info("this Hub has no collections; the release goes on without one")
        return None
    if not private:
        api().update_collection_metadata(made.slug, private=False)
    for repo, kind in items:
        api().add_collection_item(made.slug, repo, cast(_Kind, kind), exists_ok=True)
    return str(made.slug)

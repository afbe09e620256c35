"""RefinedWeb's ban lists of addresses, without a network."""

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import URLFilter
from tldextract import TLDExtract

from moxin_recipes.documents.filters import Given


class Urls(URLFilter):
    """datatrove's filter with its own lists (domains, addresses, words), which lie in its package.

    The list of public suffixes is the one that tldextract brings along: its default fetches a new
    one. A document without an address cannot be judged and stays.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tldextractor = TLDExtract(suffix_list_urls=())

    def filter(self, document: Document) -> bool | tuple[bool, str]:
        """The reason says which list: `url: domain`, `url: soft_blacklisted`, …"""
        if not document.metadata.get("url"):
            return True
        verdict = super().filter(document)
        return verdict if verdict is True else (False, f"url: {verdict[1]}")


def block(given: Given) -> Urls:
    """With the lists of datatrove, which are RefinedWeb's kind."""
    return Urls(exclusion_writer=given.removed)

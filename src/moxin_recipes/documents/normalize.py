"""One form for each text: NFC, newlines as \\n, nothing blank around it."""

import hashlib
import unicodedata
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter


class Normalize(BaseFilter):
    """Sets `text` (NFC, as SlimPajama does first), `id` (sha256 of it, hex) and `split`.

    The split, train or heldout, is a function of the text alone, or of `group` where a document
    has one: what repeats each other (a module and its docstrings) is on the same side. A text that
    is no Unicode (a lone surrogate) is taken out, with the surrogates escaped.
    """

    name = "🔤 Normalize"

    def __init__(self, heldout_fraction: float, **options: Any) -> None:
        super().__init__(**options)
        self.heldout_fraction = heldout_fraction

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Always keeps a text that can be written as UTF-8 and is not empty."""
        text = unicodedata.normalize("NFC", doc.text.replace("\r\n", "\n")).strip()
        try:
            identity = digest(text)
        except UnicodeEncodeError:
            doc.text = text.encode(errors="backslashreplace").decode()
            return False, "invalid unicode"
        doc.text = text
        if not text:
            return False, "no text"
        doc.id = identity
        held = share(doc.metadata.get("group") or text) < self.heldout_fraction
        doc.metadata["split"] = "heldout" if held else "train"
        return True


def digest(text: str) -> str:
    """The id of a document: sha256 of its text, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def share(text: str) -> float:
    """A text's place in [0, 1), by its hash."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

"""Documents → clean, distinct documents with their split; what is removed is kept with a reason."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Cleaner:
    """Normalises, filters and exactly deduplicates documents, across all sources it is shown.

    `counts` maps `source/reason` to documents; `removed` keeps what was taken out.
    """

    counts: Counter[str] = field(default_factory=Counter)
    removed: list[dict[str, Any]] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)

    def clean(
        self, documents: Iterable[dict[str, Any]], min_characters: int, heldout_fraction: float
    ) -> Iterator[dict[str, Any]]:
        """Yields documents with `id` (sha256 of the text, hex) and `split` (train or heldout).

        The split is a function of the text alone, or of `group` where a document has one: what
        repeats each other (a module and its docstrings) is on the same side.
        """
        for document in documents:
            text = document["text"]
            if not isinstance(text, str):
                self._remove({**document, "text": ""}, "no text")
                continue
            text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            reason = self._reason(text, digest, min_characters)
            if reason:
                self._remove({**document, "text": text}, reason)
                continue
            self._seen.add(digest)
            self.counts[f"{document['source']}/kept"] += 1
            share = _share(document.get("group") or text)
            split = "heldout" if share < heldout_fraction else "train"
            yield {**document, "text": text, "id": digest.hex(), "split": split}

    def _reason(self, text: str, digest: bytes, min_characters: int) -> str | None:
        if any("\ud800" <= character <= "\udfff" for character in text):
            return "invalid unicode"
        if len(text) < min_characters:
            return "short"
        return "duplicate" if digest in self._seen else None

    def _remove(self, document: dict[str, Any], reason: str) -> None:
        self.counts[f"{document['source']}/{reason}"] += 1
        self.removed.append({**document, "reason": reason})


def _share(text: str) -> float:
    """A text's place in [0, 1), by its hash."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

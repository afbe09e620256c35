"""Which evaluation texts a text holds: two rules on n-grams, and one for short questions."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moxin_recipes.documents.grams import Numbers, gram_hashes, word_hashes

COVERED, ANY = "8-gram", "13-gram"  # the two rules
WHOLE = "whole"  # how a question of fewer than 8 words is looked for
SIZES = {COVERED: 8, ANY: 13}
SHORTEST = 5  # words of a question that is looked for as a whole
_WORD = re.compile(r"\w+|(?<=\d)\s*[-+*/^=<>×÷]\s*(?=\d)")
_LONG_NAME = re.compile(r"_[^\W_]+_+[^\W_]+_+[^\W_]+_")
# Han has no spaces between words, so each of its signs is one.
_HAN = re.compile("[\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
# Several letters as one sign, and digits and letters as wide as Han's.
_FORMS = re.compile("[\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")


def words(text: str) -> list[str]:
    """Lower-cased words; an operator between two numbers is one, or 7+5 and 7-5 would be alike.

    An accented letter is one sign, however it was written (NFC), a ligature its letters, and each
    sign of Han a word. Words that underscores join are apart where they are as many as a question
    that is looked for; a name of a program has fewer.
    """
    plain = text
    if not text.isascii():
        plain = unicodedata.normalize("NFC", text).replace("−", "-")
        plain = _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), plain)
        plain = _HAN.sub(r" \g<0> ", plain)
    found = [word.strip() for word in _WORD.findall(plain.lower())]
    if not _LONG_NAME.search(plain):
        return found
    return [part for word in found for part in _apart(word)]


def _apart(word: str) -> list[str]:
    parts = [part for part in word.split("_") if part]
    return parts if len(parts) >= SHORTEST else [word]


class Grams:
    """A sorted list of n-grams, each with the text that it is from and its place there."""

    def __init__(self, grams: Numbers, texts: np.ndarray, places: np.ndarray) -> None:
        self.grams, self.texts, self.places = grams, texts, places
        # Most n-grams of a corpus are in no evaluation set: a table of their first bits says so.
        bits = min(27, max(10, len(grams).bit_length() + 4))
        self._shift = np.uint64(64 - bits)
        self._first = np.zeros(1 << bits, bool)
        self._first[grams >> self._shift] = True

    def find(self, grams: Numbers) -> Iterator[tuple[int, int]]:
        """(text, place) of each entry that is among `grams`."""
        maybe = grams[self._first[grams >> self._shift]]
        if not len(maybe):
            return
        maybe = np.unique(maybe)
        starts = np.searchsorted(self.grams, maybe, "left")
        ends = np.searchsorted(self.grams, maybe, "right")
        for start, end in zip(starts, ends, strict=True):
            yield from zip(self.texts[start:end], self.places[start:end], strict=True)


class Index:
    """The evaluation texts: their lengths in words, and the n-grams of each (rule, n)."""

    def __init__(self, lengths: list[int], grams: dict[tuple[str, int], Grams]) -> None:
        self.lengths, self.grams = lengths, grams

    @classmethod
    def load(cls, file: Path) -> "Index":
        """Reads what `contamination.write_index` wrote."""
        with np.load(file) as index:
            names = sorted(name.removesuffix("/grams") for name in index if name.endswith("/grams"))
            grams = {}
            for name in names:
                rule, _, n = name.partition("/")
                arrays = (index[f"{name}/{part}"] for part in ("grams", "texts", "places"))
                grams[rule, int(n)] = Grams(*arrays)
            return cls(index["lengths"].tolist(), grams)

    def hits(self, text: str) -> list[tuple[int, str]]:
        """Evaluation texts that a document holds, with each rule that says so, sorted.

        8-gram: more than half of the text's words lie in 8-grams that the document has, too (Tülu
        3). 13-gram: the document has any 13-gram of the text. Whole: it has all of a short text.
        """
        here = gram_hashes(word_hashes(words(text)), (n for _, n in self.grams))
        matches: set[tuple[int, str]] = set()
        for (rule, n), grams in self.grams.items():
            covered: dict[int, set[int]] = {}
            for number, place in grams.find(here[n]):
                covered.setdefault(int(number), set()).update(range(place, place + n))
            for number, places in covered.items():
                if rule != COVERED or len(places) > self.lengths[number] / 2:
                    matches.add((number, rule))
        return sorted(matches)

"""Words without a language model: what the blocks of datatrove take in place of spaCy."""

import re

from datatrove.utils.word_tokenizers import WordTokenizer

_WORD = re.compile(r"\w+(?:['’.]\w+)*")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*\n*|\s+")


class Words(WordTokenizer):
    """Runs of letters and digits, an apostrophe or a point between two of them included.

    datatrove's own choice for English is spaCy, a large dependency whose tokens include
    punctuation. DCLM counts words by Unicode's word boundaries without punctuation, as here.
    """

    def word_tokenize(self, text: str) -> list[str]:
        """The words of a text, in order."""
        return _WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Stretches that end at a full stop, a mark or a line's end."""
        return [part.strip() for part in _SENTENCE.findall(text) if part.strip()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each sentence in the text."""
        return [match.span() for match in _SENTENCE.finditer(text)]


WORDS = Words("en")  # one for all: datatrove caches a text's words by its tokenizer

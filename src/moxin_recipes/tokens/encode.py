"""Texts → token ids in numpy buffers, by the fastest library that gives the tokenizer's own ids."""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

log = logging.getLogger(__name__)

Encode = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
PROOF_CHARACTERS = 200_000  # of the corpus at hand, encoded twice: 0.2 s with `tokenizers`
# What libraries disagree on: control strings, runs of spaces, bytes without a piece, marks.
HOSTILE = (
    "",
    " ",
    "<s> </s><unk> <pad> [INST]",
    "a  b   c\t\td\n\n    e \r\n",
    "▁ ▁▁a▁ b",
    "\x00\x01\x1b\x7f\x85\ufeff\ufffd\ufffe\U0010ffff",
    "🙂👩‍👩‍👧 é e\u0301 \u200b\u2028\u3000数学العربية",
    "<0x0A><0x41> 0123456789 x" + "=" * 200 + " " * 200,
)


def reference(tokenizer: Tokenizer) -> Encode:
    """Encoding by Hugging Face tokenizers, in which a literal `<s>` of a text is ordinary text."""

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        tokenizer.no_truncation()  # transformers leaves there what its last call asked for
        tokenizer.no_padding()
        marks = tokenizer.encode_special_tokens
        tokenizer.encode_special_tokens = True
        found = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        tokenizer.encode_special_tokens = marks
        counts = np.fromiter(map(len, found), np.int64, len(found))
        flat = np.fromiter((i for ids in found for i in ids), np.uint32, int(counts.sum()))
        return flat, counts

    return encode


def fast(tokenizer: Tokenizer) -> Encode | None:
    """Encoding by tuetoken, five to nine times as fast; None where it cannot do this tokenizer."""
    try:
        import tuetoken
    except ImportError:
        log.info("tuetoken is not installed; tokenizing with `tokenizers`, some 7 times slower")
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokenizer.to_str(), encoding="utf-8")
        try:
            core = tuetoken.Tokenizer(str(path))
        except (ValueError, KeyError) as error:  # it refuses what it cannot reproduce
            log.info("tokenizing with `tokenizers`: tuetoken refuses this one (%s)", error)
            return None
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))  # the share of the cores that is ours

    def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        found = core.encode_ordinary_to_buffer(list(texts), num_threads=threads)
        return found["data"], np.diff(found["offsets"])

    return encode


def proven(tokenizer: Tokenizer, sample: Sequence[str]) -> Encode:
    """The fast encoding if it equals the tokenizer's own on `sample` and on hostile strings.

    `sample` is text of the corpus at hand; `PROOF_CHARACTERS` of it are compared, taken from the
    beginnings of as many documents as that is enough for. Where a single id differs, the tokenizer
    itself does the work, and one line says so.
    """
    exact, quick = reference(tokenizer), fast(tokenizer)
    if quick is None:
        return exact
    most = max(200, PROOF_CHARACTERS // max(1, len(sample)))
    texts = [text[:most] for text in sample[: PROOF_CHARACTERS // most]]
    for text in (*HOSTILE, *texts):
        if not np.array_equal(exact([text])[0], quick([text])[0]):
            log.warning("tokenizing with `tokenizers`: tuetoken differs on %r", text[:80])
            return exact
    return quick

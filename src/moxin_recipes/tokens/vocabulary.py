"""What a tokenizer has to be before documents are cleaned for it, and the sizes of its tokens."""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.encode import reference
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import dtype_for

if TYPE_CHECKING:  # transformers takes seconds to load, and readers of tokens do without
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

FILES = ["*.json", "*.model", "*.txt", "*.jinja"]  # of a repository: all but weights
# Each has to come back, up to Unicode's normal forms (Qwen composes characters).
_TEXTS = (
    "Capital, lower; 0123456789 + 3.14 = x_1",
    "a  b   c\t\td\n\n    e \r\n.",
    "🙂👩‍👩‍👧 é Größe 数学 العربية हिन्दी 한국어 ไทย",
    "x\x00\x01\x1b\x7f\x85y\u200b\u2028z",
)


def size(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Returns the number of ids, up to the largest; added tokens count, and so do unused ids."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return max(vocabulary.values()) + 1


def token_bytes(tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """Returns the number of UTF-8 bytes of each token (vocabulary,); 0 for special tokens."""
    lengths = np.zeros(size(tokenizer), np.int64)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
    for piece, token in tokenizer.get_vocab().items():
        if token in added:
            lengths[token] = 0 if added[token].special else len(piece.encode())
        elif byte_level:
            lengths[token] = len(piece)  # one character of the byte alphabet is one byte
        elif len(piece) == 6 and piece.startswith("<0x"):
            lengths[token] = 1
        else:
            lengths[token] = len(piece.replace("▁", " ").encode())
    lengths[tokenizer.all_special_ids] = 0
    return lengths


def proven(folder: Path, key: str) -> "PreTrainedTokenizerFast":
    """Returns the tokenizer in `folder` if documents can be written with it.

    RecipeError names the recipe's `key` and the way out where there is none, where it is not a fast
    one, where it has neither BOS nor EOS, where a text may hold its marks, and where texts do not
    come back from their ids.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # each kind of file has its own way to be wrong
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"`{key}`: transformers loads no tokenizer from there ({type(error).__name__}: "
            f"{reason}); it needs a tokenizer.json"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise RecipeError(
            f"`{key}`: {type(tokenizer).__name__} has no tokenizer.json (it is a slow tokenizer); "
            "convert it with transformers' `convert_slow_tokenizer`, and save that"
        )
    _check_marks(tokenizer, key)
    _check_texts(tokenizer, key)
    return tokenizer


def _check_marks(tokenizer: "PreTrainedTokenizerFast", key: str) -> None:
    framing, encode = Framing.of(tokenizer, key), reference(tokenizer.backend_tokenizer)
    for mark in sorted({framing.begin, framing.end}):
        text = str(tokenizer.convert_ids_to_tokens(mark))
        if mark in encode([text])[0]:
            raise RecipeError(
                f"`{key}`: a text that holds {text!r} would be cut into two documents there, "
                "because the tokenizer knows that mark as an ordinary piece; make it a special "
                "token (`add_special_tokens`) and save it again"
            )


def _check_texts(tokenizer: "PreTrainedTokenizerFast", key: str) -> None:
    for text in _TEXTS:
        ids = reference(tokenizer.backend_tokenizer)([text])[0].tolist()
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if unicodedata.normalize("NFKC", back) != unicodedata.normalize("NFKC", text):
            raise RecipeError(
                f"`{key}`: the text {text!r} comes back from its ids as {back!r}, so what is "
                "learned is not what was written; take a byte-level tokenizer, or one with bytes "
                "to fall back on"
            )


def form(tokenizer: "PreTrainedTokenizerBase", key: str) -> dict[str, Any]:
    """Returns what the manifest of tokens says of their form; `key` names the tokenizer."""
    framing, ids = Framing.of(tokenizer, key), size(tokenizer)
    return {
        "dtype": dtype_for(ids).name,
        "vocabulary": ids,
        "documents": framing.rule,
        "begin": framing.begin,
        "end": framing.end,
    }


def special_ids(tokenizer: "PreTrainedTokenizerBase", key: str) -> dict[str, int | None]:
    """Returns what a new model's config says of its tokenizer's ids.

    A mark that is there alone is both, so that text can begin and end (Qwen's configs say so too).
    """
    framing = Framing.of(tokenizer, key)
    return {
        "vocab_size": size(tokenizer),
        "bos_token_id": framing.begin,
        "eos_token_id": framing.end,
        "pad_token_id": tokenizer.pad_token_id,
    }


def check_form(
    manifest: dict[str, Any], tokenizer: "PreTrainedTokenizerBase", vocabulary: int
) -> Framing:
    """Returns the framing of a model's tokenizer if the tokens of a manifest have the same.

    `vocabulary` is the model's. Raises RecipeError where it lacks ids, or where the tokens were
    framed otherwise. (Tokens that were made before manifests said it are taken as they are.)
    """
    framing, said = Framing.of(tokenizer, "model_name_or_path"), manifest.get("form")
    if said and Framing(said["begin"], said["end"]) != framing:
        raise RecipeError(
            f"`dataset_name`: these tokens hold documents as `{said['documents']}`, the model's "
            f"tokenizer has `{framing.rule}`; make the tokens with that tokenizer"
        )
    needed = said["vocabulary"] if said else size(tokenizer)
    if needed > vocabulary:
        raise RecipeError(
            f"`dataset_name`: these tokens have ids up to {needed - 1:,}, the model has "
            f"{vocabulary:,}; make the tokens with the model's tokenizer"
        )
    return framing

"""A tokenizer as GGUF keeps it, or the reason why llama.cpp would read other ids.

llama.cpp has its own code for each kind of tokenizer, and a GGUF names the kind. A wrong name loads
without a word and gives other ids. So a name is given only where the whole tokenizer.json is of a
form that is known here, part by part; everything else is refused. Sources, at
github.com/ggml-org/llama.cpp, commit 00ad355e009e83abf98f96a6ded7193b95763681, src/llama-vocab.cpp:

- `gpt-2` (LLAMA_VOCAB_PRE_TYPE_GPT2) splits by the expression of GPT-2, as tokenizers' ByteLevel
  does with `use_regex`.
- `smollm` (LLAMA_VOCAB_PRE_TYPE_SMOLLM) splits off each `\\p{N}` first: Digits one by one.
- The model `llama` (llm_tokenizer_spm_session) merges the neighbours whose union has the best
  score, the leftmost of equals, writes what has no piece as bytes, and puts a space before a text.
"""

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.tokenization_utils_base import generate_merges

from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
# llama.cpp's name → what tokenizer.json calls it.
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, _BYTES]},
}
_SPACES = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# gguf.TokenType, whose package is an extra.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _IS_BYTE = range(1, 7)


@dataclass
class Vocabulary:
    """What a GGUF says of a tokenizer; `tokens` and `types` have one entry an id of the model."""

    model: str  # gpt2 or llama
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)  # bos, eos, eot, unk, pad → id
    without_piece: list[int] = field(default_factory=list)  # bytes
    adds_bos: bool = False
    adds_eos: bool = False
    chat_template: str | None = None

    def add_to(self, writer: "GGUFWriter") -> None:
        """Writes all of it as metadata."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        for name, token in self.marks.items():
            getattr(writer, f"add_{name}_token_id")(token)
        writer.add_add_bos_token(self.adds_bos)
        writer.add_add_eos_token(self.adds_eos)
        writer.add_add_space_prefix(self.model == "llama")
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def of(tokenizer: "PreTrainedTokenizerBase", size: int, ends: list[int], where: str) -> Vocabulary:
    """The vocabulary of a tokenizer, for a model of `size` ids.

    `ends` are the ids that end an answer (two at most). Raises RecipeError, naming `where`, unless
    llama.cpp gives the same ids as transformers.
    """
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    model = told["model"]
    if model["type"] != "BPE" or model.get("dropout"):
        raise _refused(where, f"its model is {model['type']}, not BPE without dropout")
    is_pieces = model.get("byte_fallback", False)
    pre = "default" if is_pieces else _pre_tokenizer(told, where)
    found = Vocabulary("llama" if is_pieces else "gpt2", pre, *_tokens(told, size, where))
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    if is_pieces:
        found.scores = _scores(told, merges, found, where)
    else:
        _check_merging(model, where)
        found.without_piece = _bytes_without_piece(model)
        found.merges = [" ".join(merge) for merge in merges]
    found.marks = _marks(tokenizer, ends, where)
    found.adds_bos, found.adds_eos = _added(tokenizer, where)
    found.chat_template = _template(tokenizer)
    return found


def _refused(where: str, why: str) -> RecipeError:
    return RecipeError(
        f"{where}: it is not known how llama.cpp would read its tokenizer.json ({why}), so no GGUF "
        "is written; serve it with vLLM or `transformers serve` (docs/gguf.md says what is known)"
    )


def _pre_tokenizer(told: dict[str, Any], where: str) -> str:
    """llama.cpp's name of how a byte-level tokenizer splits a text."""
    if told["normalizer"]:
        raise _refused(where, f"it has the normalizer {told['normalizer']['type']}")
    split = _bare(told["pre_tokenizer"])
    for name, known in PRE_TOKENIZERS.items():
        if split == known:
            return name
    raise _refused(where, f"its pre_tokenizer is {json.dumps(split)}")


def _bare(part: Any) -> Any:
    """A part of tokenizer.json without what changes offsets and no id."""
    if isinstance(part, dict):
        return {key: _bare(value) for key, value in part.items() if key != "trim_offsets"}
    return [_bare(one) for one in part] if isinstance(part, list) else part


def _check_merging(model: dict[str, Any], where: str) -> None:
    for key in ("ignore_merges", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise _refused(where, f"`{key}` is {model[key]}")


def _bytes_without_piece(model: dict[str, Any]) -> list[int]:
    """The bytes of UTF-8 for which a byte-level vocabulary has no piece.

    transformers leaves them out of a text before it merges, llama.cpp after it.
    """
    never = {0xC0, 0xC1, *range(0xF5, 0x100)}  # in no UTF-8 text
    letters = bytes_to_unicode()
    return sorted(
        byte
        for byte, letter in letters.items()
        if letter not in model["vocab"] and byte not in never
    )


def _tokens(told: dict[str, Any], size: int, where: str) -> tuple[list[str], list[int]]:
    """The text and the type of each id; ids that no text has are unused."""
    pieces: dict[str, int] = told["model"]["vocab"]
    added = {one["content"]: one for one in told["added_tokens"]}
    ids = pieces | {text: one["id"] for text, one in added.items()}
    if max(ids.values()) >= size:
        raise _refused(where, f"it has ids up to {max(ids.values())}, the model {size} ids")
    tokens = [f"[unused{number}]" for number in range(size)]
    types = [_UNUSED] * size
    for text, number in ids.items():
        tokens[number] = text
        if text in added:
            types[number] = _type_of_added(added[text], where)
        else:
            fallback = told["model"].get("byte_fallback") and _BYTE.fullmatch(text)
            types[number] = _IS_BYTE if fallback else _NORMAL
    unknown = told["model"].get("unk_token")
    if unknown is not None:
        types[ids[unknown]] = _UNKNOWN
    return tokens, types


def _type_of_added(one: dict[str, Any], where: str) -> int:
    for flag in ("single_word", "lstrip", "rstrip", "normalized"):
        if one[flag]:
            raise _refused(where, f"the added token {one['content']!r} has `{flag}`")
    return _CONTROL if one["special"] else _USER_DEFINED


def _scores(
    told: dict[str, Any], merges: list[list[str]], found: Vocabulary, where: str
) -> list[float]:
    """SentencePiece's scores, up to their distances, of a BPE with bytes to fall back on.

    The best merge has the best score. That they say the same is checked by making the merges of
    the scores again, as transformers makes them of a SentencePiece model.
    """
    if told["pre_tokenizer"] or told["normalizer"] != _SPACES or not told["model"]["fuse_unk"]:
        raise _refused(where, "it does not treat spaces as SentencePiece does")
    pieces: dict[str, int] = told["model"]["vocab"]
    if sum(_BYTE.fullmatch(piece) is not None for piece in pieces) != 256:
        raise _refused(where, "it lacks some of the 256 bytes")
    ranks = _ranks(merges)
    last = -float(len(merges))
    scores = {piece: -float(ranks[piece]) if piece in ranks else last for piece in pieces}
    apart = [piece for piece, number in pieces.items() if found.types[number] != _NORMAL]
    if [list(merge) for merge in generate_merges(pieces, scores, apart)] != merges:
        raise _refused(where, "its merges are not those of a SentencePiece model")
    by_id = {number: scores[piece] for piece, number in pieces.items()}
    return [by_id.get(number, last) for number in range(len(found.tokens))]


def _ranks(merges: list[list[str]]) -> dict[str, int]:
    """Piece → the place of its first merge; runs of spaces, whose merges are mixed, share one.

    (SentencePiece gives them one score. Of a run of spaces the leftmost pair is merged first in
    either way, so that two neighbours are never a shorter and a longer run.)
    """
    ranks: dict[str, int] = {}
    spaces = None
    for place, (left, right) in enumerate(merges):
        piece = left + right
        if piece.strip("▁"):
            ranks.setdefault(piece, place)
        else:
            spaces = place if spaces is None else spaces
            ranks[piece] = spaces
    return ranks


def _marks(tokenizer: "PreTrainedTokenizerBase", ends: list[int], where: str) -> dict[str, int]:
    """The ids of marks; an end beside the EOS is that of a turn."""
    eos = tokenizer.eos_token_id
    turn = [end for end in ends if end != eos]
    if len(turn) > 1:
        raise _refused(where, f"answers end with any of {len(ends)} tokens, and a GGUF names two")
    marks = {
        "bos": tokenizer.bos_token_id,
        "eos": eos,
        "eot": next(iter(turn), None),
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    return {name: token for name, token in marks.items() if token is not None}


def _added(tokenizer: "PreTrainedTokenizerBase", where: str) -> tuple[bool, bool]:
    """Whether the tokenizer puts its BOS before a text, and its EOS behind it."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    bos, eos = [tokenizer.bos_token_id], [tokenizer.eos_token_id]
    for first in (False, True):
        for last in (False, True):
            if whole == (bos if first else []) + plain + (eos if last else []):
                return first, last
    raise _refused(where, "it puts more around a text than a BOS and an EOS")


def _template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """The chat template without the marks of what is learned, which transformers alone knows."""
    template = tokenizer.chat_template
    if template is None:
        return None
    within = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", str(template))
    return re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", within)

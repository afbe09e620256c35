"""Held-out scores of a saved model: bits per byte of unseen text."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores.held_out import load, metric
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.shards import TokenFolder
from moxin_recipes.tokens.vocabulary import token_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOutTokens:
    """The windows of a source that are measured, and the bytes that their labels stand for."""

    windows: list[dict[str, np.ndarray]]
    size: int


def held_out_tokens(tokens: Path, tokenizer: Tokenizer, context: int) -> dict[str, HeldOutTokens]:
    """What `bits_per_byte` measures on, by source: windows of `context` tokens.

    Documents are isolated as in training; a last part window is left out. Asked before the work
    begins, it proves that there will be something to measure.

    Raises:
        RecipeError: no source has a window of `context` tokens (the key `eval_context_length`), or
            the tokens are those of another tokenizer.
    """
    folder = TokenFolder(tokens)
    names = folder.sources("heldout")
    if not names:
        raise RecipeError(
            "`dataset_name`: these tokens have no held-out documents to measure on; give the "
            "sources of the data stage a `heldout_fraction`"
        )
    lengths, framing = token_bytes(tokenizer), Framing.of(tokenizer, "model_name_or_path")
    found, longest = {}, 0
    for name in names:
        shards = folder.shards(name, "heldout")
        longest = max(longest, *(shard.tokens for shard in shards))
        windows = [
            framing.packed(folder.read(shard, start, context))
            for shard in shards
            for start in range(0, shard.tokens - context + 1, context)
        ]
        labels = [window["labels"] for window in windows]
        largest = max((int(part.max()) for part in labels), default=0)
        if largest >= len(lengths):
            raise RecipeError(
                f"`dataset_name`: its ids go up to {largest:,} and more, the tokenizer's to "
                f"{len(lengths) - 1:,}; make the tokens with the model's tokenizer"
            )
        size = sum(int(lengths[part[part >= 0]].sum()) for part in labels)
        if size:
            found[name] = HeldOutTokens(windows, size)
        else:
            log.warning("%s has no held-out window of %d tokens and gets no score", name, context)
    if not found:
        raise RecipeError(
            f"`eval_context_length`: {context} tokens, and the longest held-out shard of "
            f"`dataset_name` has {longest}; take fewer, or hold out more text in the data stage"
        )
    return found


def beginning(tokens: Path, tokenizer: Tokenizer, weights: dict[str, float]) -> str | None:
    """The first line of the first held-out document of the heaviest source that has one.

    `weights` are those of the mixture, by source. At most 80 characters, for a model's card; None
    where no source of the mixture is held out.
    """
    folder = TokenFolder(tokens)
    held = [source for source in folder.sources("heldout") if source in weights]
    if not held:
        return None
    shard = folder.shards(max(held, key=lambda source: weights[source]), "heldout")[0]
    ids = folder.read(shard, 0, min(shard.tokens, 80)).tolist()
    if tokenizer.eos_token_id in ids:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    line, more, _ = text.partition("\n")
    return line[:80] + more if line else None


@torch.no_grad()
def bits_per_byte(folder: Path, tokens: Path, context: int) -> dict[str, float]:
    """`bits_per_byte` over all sources' held-out tokens and `bits_per_byte/SOURCE` of each."""
    model, tokenizer = load(folder)
    sources = held_out_tokens(tokens, tokenizer, context)
    nats = {name: _all_nats(model, source.windows) for name, source in sources.items()}
    sizes = {name: source.size for name, source in sources.items()}
    return {
        "bits_per_byte": _bits(list(nats.values()), list(sizes.values())),
        **{f"bits_per_byte/{name}": _bits([nats[name]], [sizes[name]]) for name in sources},
    }


def _bits(nats: list[float], sizes: list[int]) -> float:
    result = metric("bits_per_byte").compute(predictions=nats, references=sizes)
    return round(float(result["bits_per_byte"]), 4)


def _all_nats(model: PreTrainedModel, windows: list[dict[str, np.ndarray]]) -> float:
    return sum(_nats(model, windows[at : at + 16]) for at in range(0, len(windows), 16))


def _nats(model: PreTrainedModel, batch: list[dict[str, np.ndarray]]) -> float:
    inputs = {
        key: torch.from_numpy(np.stack([window[key] for window in batch])).to(model.device)
        for key in ("input_ids", "position_ids")
    }
    labels = torch.from_numpy(np.stack([window["labels"] for window in batch])).to(model.device)
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    return float(total)

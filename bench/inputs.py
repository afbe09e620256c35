"""Models with random weights and documents of random ids, for the benchmarks of training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase

from moxin_recipes.tokens.framing import Framing

CONTEXT, BOS, EOS, PAD = 512, 1, 2, 3
FRAMING = Framing(BOS, EOS)
BATCH = {4096: 8, 32000: 8, 49152: 2}  # by the size of the vocabulary
WINDOWS = 16  # number of batches

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SMOL = {  # https://huggingface.co/HuggingFaceTB/SmolLM2-135M
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def config(vocabulary: int) -> MistralConfig:
    return MistralConfig(
        vocab_size=vocabulary,
        **(SMOL if vocabulary == 49152 else SMALL),
        max_position_embeddings=CONTEXT,
        sliding_window=4096,
        pad_token_id=PAD,
    )


def model(vocabulary: int) -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(config(vocabulary))


def save_model(folder: Path, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
    """Saves the tokenizer, and six layers of width 256 with random weights for its pieces."""
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    MistralForCausalLM(
        MistralConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=2,
            sliding_window=4096,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)


def documents(vocabulary: int) -> Iterator[np.ndarray]:
    """Yields random ids between BOS and EOS; their lengths are log-normal with a median of 400."""
    rng = np.random.default_rng(0)
    while True:
        length = int(np.clip(rng.lognormal(6, 1), 10, 8000))
        yield np.array([BOS, *rng.integers(4, vocabulary, length), EOS])


def windows(vocabulary: int, share: float | None = None) -> list[np.ndarray]:
    """Returns consecutive rows of 512 from one stream of documents, or of their labels."""
    tokens_left, parts = WINDOWS * BATCH[vocabulary] * CONTEXT, []
    for document in documents(vocabulary):
        parts.append(document if share is None else learned(document, share))
        tokens_left -= len(document)
        if tokens_left <= 0:
            break
    stream = np.concatenate(parts)
    return [stream[i * CONTEXT : (i + 1) * CONTEXT] for i in range(WINDOWS * BATCH[vocabulary])]


def isolated(vocabulary: int) -> list[dict[str, torch.Tensor]]:
    rows = [FRAMING.packed(ids) for ids in windows(vocabulary)]
    return [{key: torch.from_numpy(value) for key, value in row.items()} for row in rows]


def learned(ids: np.ndarray, share: float) -> np.ndarray:
    """Returns the labels of a document whose last `share` is an answer."""
    return np.where(np.arange(len(ids)) < round((1 - share) * len(ids)), -100, ids)


def chats(vocabulary: int, share: float) -> Dataset:
    """Returns the rows of `isolated`, with labels only for the last `share` of each document."""
    answers = windows(vocabulary, share)
    rows = [FRAMING.packed(ids) for ids in windows(vocabulary)]
    for row, answer in zip(rows, answers, strict=True):
        row["labels"] = np.where(answer == -100, -100, row["labels"])
    return Dataset.from_list([{key: ids.tolist() for key, ids in row.items()} for row in rows])

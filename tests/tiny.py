"""Models of a few thousand random weights, a tokenizer with a chat template, and chats for it."""

from pathlib import Path
from typing import Any

import torch
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase

from moxin_recipes.chats import template
from moxin_recipes.tokens.write import train_tokenizer

Messages = list[dict[str, str]]


def turns(*texts: str) -> Messages:
    """User and assistant in turn."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def tiny_tokenizer(
    text: str = "<|user|>\nhow many?\n<|assistant|>\n12 or 13",
) -> PreTrainedTokenizerBase:
    """300 pieces, most of them bytes, with Tülu's template."""
    made = train_tokenizer([text] * 20, 300)
    template.prepare_tokenizer(made, "tulu.jinja", None)
    return made


def tiny_mistral(
    tokenizer: PreTrainedTokenizerBase | None = None, **shape: Any
) -> MistralForCausalLM:
    """A Mistral with the same weights at each call, two layers of width 32 where `shape` is silent.

    Vocabulary and special tokens are the tokenizer's.
    """
    if tokenizer is not None:
        special = ("bos_token_id", "eos_token_id", "pad_token_id")
        shape |= {name: getattr(tokenizer, name) for name in special}
        shape["vocab_size"] = len(tokenizer)
    usual = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**usual | shape))


def save_tiny_model(folder: Path) -> tuple[MistralForCausalLM, PreTrainedTokenizerBase]:
    """Saves both to `folder` and returns them."""
    tokenizer = tiny_tokenizer("<|user|>\nhow many?\n<|assistant|>\n<think>12 or 13</think>")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    model = tiny_mistral(tokenizer, **shape, max_position_embeddings=256)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer

"""A model of a few thousand random weights, saved with its tokenizer and chat template."""

from pathlib import Path

import torch
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerBase

from moxin_recipes.data import chat
from moxin_recipes.data.tokens import train_tokenizer


def save_tiny_model(folder: Path) -> tuple[MistralForCausalLM, PreTrainedTokenizerBase]:
    """Saves both to `folder` and returns them."""
    text = "<|user|>\nhow many?\n<|assistant|>\n<think>12 or 13</think>"
    tokenizer = train_tokenizer([text] * 20, 300)
    chat.prepare_tokenizer(tokenizer, "tulu.jinja", None)
    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer

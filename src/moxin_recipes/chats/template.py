"""Encodes chats as token ids, with labels for the assistant's tokens only."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from moxin_recipes.recipe.base import TEMPLATES
from moxin_recipes.recipe.strict import RecipeError


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, template: str | None, pad_token: str | None
) -> None:
    """Sets the chat template (a file of templates/, or a path) and the padding token, if given.

    Raises RecipeError if the tokenizer then has no template, no end-of-text token or no padding
    token, or if it pads with its end-of-text token: the end of a text would be masked.
    """
    if template:
        path = TEMPLATES / template if (TEMPLATES / template).exists() else Path(template)
        if not path.exists():
            raise RecipeError(f"`chat_template`: there is no file {template}")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if pad_token:
        tokenizer.pad_token = pad_token
    if tokenizer.chat_template is None:
        raise RecipeError("`chat_template`: the model has none; give a file, such as tulu.jinja")
    if tokenizer.eos_token_id is None:
        raise RecipeError(
            "`model_name_or_path`: the tokenizer has no EOS, with which an answer ends; give it "
            "one (`tokenizer.eos_token = …`) and save it again"
        )
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise RecipeError("`pad_token`: the tokenizer has none of its own; give one, such as <unk>")


def encode(
    messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Returns the ids of a chat, and labels that are -100 for all tokens but the assistant's."""
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, spoken = encoded["input_ids"], encoded["assistant_masks"]
    return ids, [token if mask else -100 for token, mask in zip(ids, spoken, strict=True)]


def messages_of(row: dict[str, Any]) -> list[dict[str, str]]:
    """Returns a chat as turns of `role` and `content`, from `messages` or from `conversations`.

    `conversations` is ShareGPT's layout: turns of `from` (human, gpt, system) and `value`.
    """
    if "messages" in row:
        return list(row["messages"])
    roles = {"human": "user", "gpt": "assistant"}
    return [
        {"role": roles.get(turn["from"], turn["from"]), "content": turn["value"]}
        for turn in row["conversations"]
    ]


def special_token_in(messages: list[dict[str, str]], special: list[str]) -> bool:
    """Returns whether a text contains one of the `special` tokens.

    The tokenizer would encode it as that token, which could end or begin a turn.
    """
    return any(token in message["content"] for message in messages for token in special)

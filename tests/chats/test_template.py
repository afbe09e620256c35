"""Chats: one BOS, the assistant's words and their end are learned."""

import pytest
from tests.tiny import tiny_tokenizer, turns
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats import template
from moxin_recipes.recipe.strict import RecipeError


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return tiny_tokenizer()


def test_template_and_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    ids, labels = template.encode(turns("how?", "so", "and?", "thus"), tokenizer)
    text = "<s><|user|>\nhow?\n<|assistant|>\nso</s>\n<|user|>\nand?\n<|assistant|>\nthus</s>"
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.bos_token_id) == 1
    spoken = [label for label in labels if label != -100]
    assert tokenizer.decode(spoken) == "so</s>thus</s>"


def test_the_prompt_is_how_a_chat_begins(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = tokenizer.apply_chat_template(
        turns("how?"), tokenize=False, add_generation_prompt=True
    )
    chat = tokenizer.apply_chat_template(turns("how?", "so"), tokenize=False)
    assert chat == f"{prompt}so</s>"


def test_role_tags_are_text_and_the_end_is_learned_once(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tags = [token for token in tokenizer.all_special_tokens if "|" in token]
    assert not tags
    ids, labels = template.encode(turns("how?", "so"), tokenizer)
    assert ids.count(tokenizer.eos_token_id) == labels.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_tokenizer_without_padding_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(RecipeError, match="`pad_token`"):
        template.prepare_tokenizer(tokenizer, None, None)
    template.prepare_tokenizer(tokenizer, None, "<unk>")
    assert tokenizer.pad_token == "<unk>"

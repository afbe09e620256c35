"""Talk with a model of a Hub: greedy answers, in the chat template that it brings."""

import sys
from collections.abc import Iterable

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BatchEncoding,
    GenerationConfig,
    PreTrainedTokenizerBase,
    TextStreamer,
)

from moxin_recipes.hub import pull
from moxin_recipes.recipe.fields import Reference

LONGEST = 256  # tokens of an answer


def chat(name: str, said: Iterable[str]) -> None:
    """Answers what is said, line after line, on standard output, as it is generated.

    A model without a chat template is no chat model: it goes on with the text of each line. Where
    the talk no longer fits the model's positions, its oldest turns are left out.
    """
    repo, _, revision = name.partition("@")
    folder = pull.download(pull.resolve(Reference("MODEL", "model", repo, revision or "main")))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    if torch.cuda.is_available():
        model = model.to("cuda")
    is_chat = bool(tokenizer.chat_template)
    streamer = TextStreamer(tokenizer, skip_prompt=is_chat, skip_special_tokens=True)
    config = GenerationConfig(
        max_new_tokens=LONGEST,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
    )
    room = getattr(model.config, "max_position_embeddings", 1 << 20) - LONGEST
    turns: list[dict[str, str]] = []
    for line in filter(str.strip, said):
        turns.append({"role": "user", "content": line.strip()})
        prompt = _prompt(tokenizer, turns, room)
        length = prompt["input_ids"].shape[1]
        made = model.generate(
            **prompt.to(model.device), generation_config=config, streamer=streamer
        )
        answer = tokenizer.decode(made[0, length:], skip_special_tokens=True)
        turns.append({"role": "assistant", "content": answer})
        sys.stdout.flush()


def _prompt(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], room: int
) -> BatchEncoding:
    """The tokens of the talk, of at most `room` where turns can go; or of its last text."""
    while tokenizer.chat_template:
        prompt: BatchEncoding = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        if prompt["input_ids"].shape[1] <= room or len(turns) == 1:
            return prompt
        del turns[:2]
    return tokenizer(turns[-1]["content"], return_tensors="pt")

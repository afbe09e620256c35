"""Talk with a model of a Hub: greedy answers, in the chat template that it brings."""

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BatchEncoding,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TextStreamer,
)

from moxin_recipes.chats import template
from moxin_recipes.hub import pull
from moxin_recipes.recipe.fields import Reference

LONGEST = 256  # tokens of an answer


def chat(name: str, said: Iterable[str]) -> None:
    """Answers what is said, line after line, on standard output, as it is generated.

    A model without a chat template is no chat model: it goes on with the text of each line. Where
    the talk no longer fits the model's positions, its oldest turns are left out, and of a text its
    beginning.
    """
    repo, _, revision = name.partition("@")
    parent = pull.resolve(Reference("MODEL", "model", repo, revision or "main"))
    talk = Talk(pull.download(parent), made_here=not parent.payload.startswith("tree:"))
    for line in filter(str.strip, said):
        talk.answer(line.strip())
        sys.stdout.flush()


class Talk:
    """A model with its tokenizer, and the turns so far."""

    def __init__(self, folder: Path, made_here: bool) -> None:
        """`made_here`: texts begin with the mark of its training, whatever its tokenizer adds."""
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        self._model = model.to("cuda") if torch.cuda.is_available() else model
        self._begin = None
        if made_here:
            marks = [self._tokenizer.bos_token_id, getattr(model.config, "bos_token_id", None)]
            marks = [mark for mark in marks if mark is not None]
            self._begin = next(iter(marks), self._tokenizer.eos_token_id)  # tokens/framing.py
        self._positions = getattr(model.config, "max_position_embeddings", None) or 1 << 20
        self._turns: list[dict[str, str]] = []

    def answer(self, line: str) -> str:
        """What the model says to a line; it is written to standard output as it comes."""
        self._turns.append({"role": "user", "content": line})
        prompt = self._prompt(self._positions - min(LONGEST, self._positions // 2))
        length = prompt["input_ids"].shape[1]
        made = self._model.generate(
            **prompt.to(self._model.device),
            generation_config=self._config(min(LONGEST, self._positions - length)),
            streamer=TextStreamer(
                self._tokenizer,
                skip_prompt=bool(self._tokenizer.chat_template),
                skip_special_tokens=True,
            ),
        )
        answer: str = self._tokenizer.decode(made[0, length:], skip_special_tokens=True)
        self._turns.append({"role": "assistant", "content": answer})
        return answer

    def _config(self, tokens: int) -> GenerationConfig:
        """The model's own, with all of its ends; but greedy."""
        config = GenerationConfig.from_dict(self._model.generation_config.to_dict())
        config.update(do_sample=False, temperature=None, top_p=None, top_k=None)
        config.update(max_new_tokens=tokens, max_length=None, use_cache=True)
        config.eos_token_id = template.ends(self._tokenizer, config) or None
        if config.pad_token_id is None and config.eos_token_id:
            config.pad_token_id = config.eos_token_id[0]
        return config

    def _prompt(self, room: int) -> BatchEncoding:
        """The tokens of the talk, or of its last text: `room` of them at most."""
        while self._tokenizer.chat_template:
            prompt: BatchEncoding = self._tokenizer.apply_chat_template(
                self._turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            if prompt["input_ids"].shape[1] <= room or len(self._turns) == 1:
                return BatchEncoding({name: ids[:, -room:] for name, ids in prompt.items()})
            del self._turns[:2]
        ids = self._tokenizer(self._turns[-1]["content"])["input_ids"]
        begin = [self._begin] if self._begin is not None and ids[:1] != [self._begin] else []
        kept = torch.tensor([begin + ids[-(room - len(begin)) :]])
        return BatchEncoding({"input_ids": kept, "attention_mask": torch.ones_like(kept)})

"""A model as lm-eval asks it: prompts as it was trained, samples that no batch changes.

Likelihoods are lm-eval's own. Text is written here, because lm-eval does not say which prompts were
cut, how an answer ended, or what was thought before it.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from moxin_recipes.chats import rendering, template
from moxin_recipes.hub.manifest import MANIFEST
from moxin_recipes.scores.generation import CLOSE, OPEN, Draws, Stops

logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it explains itself at length


class Response(NamedTuple):
    """What a model makes of a request.

    `value` is [log-likelihood, whether it is the likeliest text], or the answer without thoughts
    and stops. `raw` is all that was written; `finish` is `stop` or `length`.
    """

    value: Any
    prompt_cut: bool = False
    raw: str | None = None
    finish: str | None = None
    unclosed: bool = False


class Model(HFLM):
    """A saved model on this process's device; `chat` says whether prompts come from a template."""

    def __init__(self, folder: Path, *, batch_size: int, dtype: str, add_bos: bool | None) -> None:
        gpu = torch.cuda.is_available()
        device = f"cuda:{torch.cuda.current_device()}" if gpu else "cpu"
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        rendering.fix_date(tokenizer)
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size, add_bos_token=add_bos
        )
        self.chat = False
        self._asked_bos = add_bos
        self._ours = (folder / MANIFEST).exists()
        begin = tokenizer.bos_token_id
        if begin is None and self._ours:  # an EOS alone is a beginning, too (tokens/framing.py)
            begin = getattr(model.config, "bos_token_id", None)
            begin = tokenizer.eos_token_id if begin is None else begin
        self._begin = self.custom_prefix_token_id = begin
        self._rolling = False
        self._cut: list[bool] = []

    @property
    def _frames(self) -> bool:
        """Whether a prompt gets BOS here: as the recipe says, else as our training framed it."""
        if self._begin is None or self._rolling:
            return False  # (rolling windows begin with it anyway)
        return self._ours and not self.chat if self._asked_bos is None else self._asked_bos

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Token ids of a text, with BOS once where prompts begin with it."""
        if add_special_tokens is None and (self._ours or self._frames):
            ids = self.tokenizer.encode(string, add_special_tokens=False)
            if self._frames and ids[:1] != [self._begin]:
                ids = [self._begin, *ids]
        else:
            ids = super().tok_encode(string, add_special_tokens, **kwargs)
        return list(ids[-left_truncate_len:] if left_truncate_len else ids)

    def place(self, request: Any) -> tuple[int, Any]:
        """Where lm-eval's order of batches has an instance: longer ones first, then like by like.

        So batches are composed as its own, and give its digits in any dtype.
        """
        if request.request_type == "loglikelihood":
            ids = self.tok_encode("".join(request.args))
            return -len(ids), ids
        prompt = request.args[0]
        return -len(self.tok_encode(prompt)), prompt

    def answer(
        self, kind: str, requests: Sequence[Any], rounds: Sequence[int], seed: int
    ) -> list[Response]:
        """Responses to lm-eval's instances of one kind; `rounds` number the samples of each."""
        if kind == "generate_until":
            return self._written([request.args for request in requests], rounds, seed)
        if kind == "loglikelihood_rolling":
            self._rolling = True
            try:
                values = self.loglikelihood_rolling(list(requests), disable_tqdm=True)
            finally:
                self._rolling = False
            return [Response(value) for value in values]
        values = self.loglikelihood(list(requests), disable_tqdm=True)
        return [Response(list(pair), cut) for pair, cut in zip(values, self._cut, strict=True)]

    def _loglikelihood_tokens(self, requests: list[Any], *given: Any, **more: Any) -> list[Any]:
        """lm-eval's, with BOS kept where a prompt is cut on the left."""
        most, self._cut, kept = self.max_length + 1, [], []
        for texts, context, continuation in requests:
            self._cut.append(len(context) + len(continuation) > most)
            if self._cut[-1] and self._frames:
                room = max(1, most - len(continuation))
                context = self._shortened(context, room)
            kept.append((texts, context, continuation))
        result: list[Any] = super()._loglikelihood_tokens(kept, *given, **more)
        return result

    def _shortened(self, ids: list[int], room: int) -> list[int]:
        """The last tokens, after BOS where prompts begin with it."""
        if len(ids) <= room:
            return ids
        return [ids[0], *ids[len(ids) - room + 1 :]] if self._frames else ids[-room:]

    def _written(
        self, asked: list[tuple[str, dict[str, Any]]], rounds: Sequence[int], seed: int
    ) -> list[Response]:
        """Batches of like length; one batch has one way of generation."""
        ids = [self.tok_encode(prompt) or [self.prefix_token_id] for prompt, _ in asked]
        ways = [json.dumps(way, sort_keys=True, default=str) for _, way in asked]
        order = sorted(range(len(asked)), key=lambda i: (ways[i], -len(ids[i]), asked[i][0], i))
        done: dict[int, Response] = {}
        while order:
            batch = [i for i in order[: self.batch_size] if ways[i] == ways[order[0]]]
            order = order[len(batch) :]
            way = normalize_gen_kwargs(asked[batch[0]][1], self.max_gen_toks)
            room = self.max_length - way["max_gen_toks"]
            if room < 1:
                raise ValueError(
                    f"answers of {way['max_gen_toks']} tokens leave no room for a prompt in "
                    f"{self.max_length}; set `generation: {{max_tokens: …}}`"
                )
            noise = [(seed, rounds[i]) for i in batch]
            prompts = [self._shortened(ids[i], room) for i in batch]
            opened = [asked[i][0].rstrip().endswith(OPEN) for i in batch]
            written = self._batch(prompts, opened, way, noise)
            for i, begun, (raw, finish) in zip(batch, opened, written, strict=True):
                text, unclosed = answer_of(raw, begun)
                for stop in filter(None, way["until"]):
                    text = text.split(stop)[0]
                done[i] = Response(text, len(ids[i]) > room, raw, finish, unclosed)
        return [done[i] for i in range(len(asked))]

    @torch.no_grad()
    def _batch(
        self,
        prompts: list[list[int]],
        opened: list[bool],
        way: dict[str, Any],
        noise: list[tuple[int, int]],
    ) -> list[tuple[str, str]]:
        """(text, finish) of each prompt; ids are padded on the left."""
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ends = template.ends(self.tokenizer, self.model.generation_config, self.chat)
        padded = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts])
        seen = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
        rest = {k: v for k, v in way.items() if k not in _HANDLED}
        heat = way.get("temperature") or 0.0
        drawn = []
        if way["do_sample"] and heat > 0:
            drawn.append(Draws(heat, way.get("top_p"), prompts, noise, self.device))
        stops = Stops(self.tokenizer, way["until"], ends, width, opened)
        made = self.model.generate(
            input_ids=padded.to(self.device),
            attention_mask=seen.to(self.device),
            max_new_tokens=way["max_gen_toks"],  # goes before what the model's own file says
            min_length=0,
            do_sample=False,
            logits_processor=LogitsProcessorList(drawn),
            stopping_criteria=StoppingCriteriaList([stops]),
            pad_token_id=pad,
            use_cache=True,
            **rest,
        )
        return [
            self._ended(ids[width:], set(ends), stopped)
            for ids, stopped in zip(made.tolist(), stops.done, strict=True)
        ]

    def _ended(self, ids: list[int], ends: set[int], by_text: bool) -> tuple[str, str]:
        """The text up to the first end, and whether that or the length ended it."""
        stopped = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self.tokenizer.decode(ids[:stopped], skip_special_tokens=self._marks_are_text)
        if not self._marks_are_text:
            for mark in {*rendering.special_tokens(self.tokenizer)} - {OPEN, CLOSE}:
                text = text.replace(mark, "")
        return text, "length" if stopped is None and not by_text else "stop"

    @property
    def _marks_are_text(self) -> bool:
        """Whether the marks of thoughts are no special tokens, which decoding leaves out."""
        return not {OPEN, CLOSE} & {*rendering.special_tokens(self.tokenizer)}


_HANDLED = ("do_sample", "temperature", "top_p", "until", "max_gen_toks")


def answer_of(raw: str, opened: bool) -> tuple[str, bool]:
    """(what follows the thoughts, whether a thought never ended); all text where none began.

    `opened` says that the prompt ends with the mark that opens a thought. An answer after a thought
    that never ended is empty.
    """
    _, closed, after = raw.rpartition(CLOSE)
    if closed:
        return after.lstrip(), False
    unclosed = opened or raw.lstrip().startswith(OPEN)
    return ("" if unclosed else raw), unclosed

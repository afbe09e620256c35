"""How the tokens of a text are drawn, and where it stops, whatever else is in its batch."""

import hashlib
import json
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria, TopPLogitsWarper

OPEN, CLOSE = "<think>", "</think>"
_HEAD = 8  # tokens within which a thought begins


class Draws(LogitsProcessor):
    """Samples as the largest of noisy logits, with noise of each prompt's own.

    Logits over the temperature plus Gumbel noise have their largest value at a token with its
    probability. The noise comes of the seed, the round, the prompt and the position alone: so a
    sample does not depend on what else is in its batch, or on which process draws it.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float | None,
        prompts: list[list[int]],
        noise: list[tuple[int, int]],
        device: Any,
    ) -> None:
        self._temperature = temperature
        self._nucleus = TopPLogitsWarper(top_p) if top_p is not None and top_p < 1 else None
        self._generators = []
        for ids, (seed, sample) in zip(prompts, noise, strict=True):
            digest = hashlib.sha256(json.dumps([seed, sample, ids]).encode()).digest()
            generator = torch.Generator(device)
            self._generators.append(generator.manual_seed(int.from_bytes(digest[:7])))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits [batch, vocabulary] with one step's noise."""
        scores = scores.float() / self._temperature
        if self._nucleus is not None:
            scores = self._nucleus(input_ids, scores)
        rows = [
            torch.empty_like(row).exponential_(generator=generator)
            for row, generator in zip(scores, self._generators, strict=True)
        ]
        return scores - torch.stack(rows).log()


class Stops(StoppingCriteria):
    """Ends a text at one of the ids `ends`, or at a stop; no stop counts within a thought.

    `done` says which texts a stop ended.
    """

    def __init__(
        self, tokenizer: Any, stops: list[str], ends: list[int], start: int, opened: list[bool]
    ) -> None:
        self._tokenizer, self._ends, self._start = tokenizer, torch.tensor(ends), start
        self._stops = [stop for stop in stops if stop]
        lengths = [len(tokenizer.encode(s, add_special_tokens=False)) for s in (*stops, CLOSE)]
        self._window = max(lengths) + 2  # a stop may be written in other tokens than its own
        self._thinks = list(opened)
        self.done = [False] * len(opened)

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Which rows of ids [batch, length] have ended."""
        new = input_ids[:, self._start :]
        if new.shape[1] <= _HEAD:
            for i, head in enumerate(self._tokenizer.batch_decode(new)):
                self._thinks[i] |= head.lstrip().startswith(OPEN) and CLOSE not in head
        if self._stops:
            for i, tail in enumerate(self._tokenizer.batch_decode(new[:, -self._window :])):
                _, closed, after = tail.rpartition(CLOSE)
                self._thinks[i] &= not closed
                text = after if closed else tail
                self.done[i] |= not self._thinks[i] and any(s in text for s in self._stops)
        ended = torch.isin(new[:, -1], self._ends.to(new.device))
        return ended | torch.tensor(self.done, device=input_ids.device)

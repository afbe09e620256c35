"""Sampling in which each row of a batch has a seed of its own, whatever is drawn beside it."""

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper


class OwnDraws(LogitsProcessor):
    """Makes the likeliest token a draw: greedy decoding after it is sampling.

    Gumbel noise is added to what temperature and top-p leave of a row's logits (rows, vocabulary);
    the largest sum is a draw from their softmax. `temperature` is above 0.
    """

    def __init__(
        self, seeds: list[int], temperature: float, top_p: float, device: torch.device
    ) -> None:
        self._rows = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._filters = LogitsProcessorList([TopPLogitsWarper(top_p)] if top_p < 1.0 else [])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        left: torch.Tensor = self._filters(input_ids, scores.float() / self._temperature)
        waits = torch.empty_like(left)  # exponential; minus its logarithm is Gumbel noise
        for row, generator in zip(waits, self._rows, strict=True):
            row.exponential_(generator=generator)
        return left - waits.log()

"""Samples each row of a batch with its own seed, independent of the other rows."""

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TopPLogitsWarper


class SeededDraws(LogitsProcessor):
    """Turns greedy decoding into sampling by adding Gumbel noise to the logits.

    Temperature and top-p filter the logits (rows, vocabulary) first. The token with the largest
    sum of logit and noise is then a draw from their softmax. `temperature` is above 0.
    """

    def __init__(
        self, seeds: list[int], temperature: float, top_p: float, device: torch.device
    ) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._filters = LogitsProcessorList([TopPLogitsWarper(top_p)] if top_p < 1.0 else [])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        filtered: torch.Tensor = self._filters(input_ids, scores.float() / self._temperature)
        waits = torch.empty_like(filtered)  # exponential; minus its logarithm is Gumbel noise
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)
        return filtered - waits.log()

"""Bits per byte: the model's code length of a text, whatever the tokenizer."""

import math
from typing import Any

import datasets
import evaluate


class BitsPerByte(evaluate.Metric):
    """Sum of nats over sum of UTF-8 bytes, in bits."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Total negative log-likelihood in bits divided by total bytes.",
            citation="",
            inputs_description="predictions: nats of each window; references: its bytes.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, Any]:
        return {"bits_per_byte": sum(predictions) / math.log(2) / sum(references)}

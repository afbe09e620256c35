"""pass@1: the share of right answers, with the standard error over problems."""

import statistics
from typing import Any

import datasets
import evaluate


class PassAtOne(evaluate.Metric):
    """Mean over problems of the mean over samples; the error counts problems, not samples."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean share of right samples per problem.",
            citation="",
            inputs_description="predictions: 0 or 1 for each sample; references: its problem.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, Any]:
        samples: dict[int, list[float]] = {}
        for right, problem in zip(predictions, references, strict=True):
            samples.setdefault(problem, []).append(right)
        items = [statistics.fmean(samples[problem]) for problem in sorted(samples)]
        spread = statistics.stdev(items) if len(items) > 1 else 0.0
        return {
            "accuracy": statistics.fmean(items),
            "accuracy_stderr": spread / len(items) ** 0.5,
            "items": items,
        }

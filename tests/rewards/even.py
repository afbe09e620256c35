"""A reward that the untrained models of the miniature ladder can earn, given by import path."""

from collections.abc import Sequence

from moxin_recipes.rewards import Score


def even(completions: Sequence[str], answers: Sequence[str]) -> list[Score]:
    """1 for an even number of characters."""
    return [Score(float(len(text) % 2 == 0), 0.0, "length") for text in completions]

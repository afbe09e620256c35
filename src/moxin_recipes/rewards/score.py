"""The verdict that every reward returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One verdict: the reward (0 or 1 for ours), its seconds, and the reason in a word or two."""

    reward: float
    seconds: float
    reason: str

"""The verdict that every reward gives."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """One verdict: reward (0 or 1 for ours), seconds it took, and the reason in a word or two."""

    reward: float
    seconds: float
    reason: str

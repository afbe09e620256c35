"""The table of docs/rewards.md: each row is what the reward does."""

import re

from tests.conftest import ROOT

from moxin_recipes import rewards

_ROW = re.compile(
    r"\| (?P<rule>[^|]*) ?\| `(?P<box>.+?)` \| `(?P<answer>.+?)` \| (?P<verdict>\w+) \|"
)


def test_each_row_of_the_page() -> None:
    page = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = [match.groupdict() for match in map(_ROW.fullmatch, page.splitlines()) if match]
    completions = [f"<think>so</think>\n\\boxed{{{row['box']}}}" for row in rows]
    scores = rewards.score("math", completions, [row["answer"] for row in rows])
    got = [
        {**row, "verdict": "right" if s.reward else "wrong"}
        for row, s in zip(rows, scores, strict=True)
    ]
    assert got == rows
    assert len(rows) == page.count("` | right |") + page.count("` | wrong |") >= 40

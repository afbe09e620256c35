"""How often the maths reward errs on labelled pairs, and how long it takes, beside math-verify.

The pairs are those of tests/rewards/labelled.jsonl: `open` ones were at hand while it was built;
`blind`, `second` and `third` ones were written before it had seen any of them. math-verify is asked
as its documentation has it, `verify(parse(gold), parse(text))`, with its own time-outs, in this
process. Both take turns; the time is of all pairs, one process, imports excluded.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from math_verify import parse, verify

from moxin_recipes import rewards
from moxin_recipes.rewards.maths import boxes, equality

FILE = Path(__file__).parent.parent / "tests" / "rewards" / "labelled.jsonl"
ROUNDS = 5


def ours(row: dict[str, Any]) -> bool:
    answer = boxes.answer(row["end"])
    return answer is not None and equality.equal(answer, row["answer"])


def theirs(row: dict[str, Any]) -> bool:
    return bool(verify(parse(f"${row['answer']}$"), parse(row["end"])))


def main() -> None:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    seconds: dict[str, list[float]] = {"ours": [], "math-verify": []}
    verdicts: dict[str, list[bool]] = {}
    for turn in range(ROUNDS):
        contenders = [("ours", ours), ("math-verify", theirs)]
        for name, judge in contenders if turn % 2 else contenders[::-1]:
            began = time.perf_counter()
            verdicts[name] = [judge(row) for row in rows]
            seconds[name].append(time.perf_counter() - began)
    print("| pairs | | right answers refused | wrong answers paid |\n|---|---|---:|---:|")
    for part in ("blind", "second", "third", "open"):
        for name, got in verdicts.items():
            both = [(row, one) for row, one in zip(rows, got, strict=True) if row["part"] == part]
            refused = sum(row["want"] and not one for row, one in both)
            paid = sum(one and not row["want"] for row, one in both)
            right = sum(row["want"] for row, _ in both)
            wrong = len(both) - right
            shares = f"{refused} of {right} ({refused / right:.1%})"
            print(f"| {part} | {name} | {shares} | {paid} of {wrong} ({paid / wrong:.1%}) |")
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = medians["ours"] / medians["math-verify"]
    print(f"{len(rows)} pairs: ours {medians['ours']:.2f} s, math-verify "
          f"{medians['math-verify']:.2f} s, ratio {ratio:.2f}")  # fmt: skip
    began = time.perf_counter()
    ends = [f"<think>so</think>{row['end']}" for row in rows]
    rewards.score("math", ends, [row["answer"] for row in rows])
    print(f"as training asks it, in its worker processes: {time.perf_counter() - began:.2f} s")

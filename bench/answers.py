"""How often the maths reward errs on labelled pairs, beside math-verify.

    python -m bench answers

The pairs are those of tests/rewards/labelled.jsonl: `open` ones were at hand while it was built;
`blind`, `second` and `third` ones were written before it had seen any of them. math-verify is asked
as its documentation has it, `verify(parse(gold), parse(text))`, with its own time-outs.
"""

import json
from pathlib import Path
from typing import Any

from math_verify import parse, verify

from bench.machine import machine
from moxin_recipes.rewards.maths import boxes, equality

FILE = Path(__file__).parent.parent / "tests" / "rewards" / "labelled.jsonl"


def ours(row: dict[str, Any]) -> bool:
    answer = boxes.answer(row["end"])
    return answer is not None and equality.equal(answer, row["answer"])


def theirs(row: dict[str, Any]) -> bool:
    return bool(verify(parse(f"${row['answer']}$"), parse(row["end"])))


JUDGES = {"math-verify": theirs, "this reward": ours}


def main() -> None:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    verdicts = {name: [judge(row) for row in rows] for name, judge in JUDGES.items()}
    print(machine("math-verify", "sympy"))
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

"""A teacher's worked solutions, kept only where a verifier agrees (paper §4: R1-distilled data).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.distill --config recipes/moxin-nano/40-distill.yaml

Needs: problems with answers. Pushes: chats with `<think>…</think>` and a boxed answer; what the
verifier refused is in the config `rejected`, with the reason.
"""

import random
from collections import Counter

from moxin_recipes import rewards
from moxin_recipes.arguments import DistillArguments
from moxin_recipes.data import arithmetic, arithmetic_rows, chat
from moxin_recipes.data.problem_sets import Row, write_split
from moxin_recipes.run import Run, clear, launch
from moxin_recipes.strict import RecipeError


def main(run: Run) -> None:
    """Ask, verify, keep, push."""
    own: DistillArguments = run.arguments
    if own.teacher != "program":
        raise RecipeError(f"{run.recipe.path}: `teacher`: there is no {own.teacher}; use `program`")
    columns = ["problem", "answer", "expression"]
    source = run.pull("dataset_name")
    problems = chat.load_split(
        source, own.dataset_config, own.dataset_split, columns, "dataset_name"
    )
    rng = random.Random(own.seed)
    kept: list[Row] = []
    rejected: list[Row] = []
    reasons: Counter[str] = Counter()
    for row in problems:
        problem = arithmetic.Problem.parse(row["expression"], row["problem"])
        for text in arithmetic_rows.teacher(problem, own.samples, rng):
            verdicts = [rewards.score(name, [text], [row["answer"]])[0] for name in own.rewards]
            failed = [verdict.reason for verdict in verdicts if verdict.reward < 1]
            if failed:
                reasons[failed[0]] += 1
                rejected.append({**row, "completion": text, "reason": failed[0]})
            else:
                turns = (("user", row["problem"]), ("assistant", text))
                messages = [{"role": role, "content": content} for role, content in turns]
                kept.append({"messages": messages, "answer": row["answer"]})
    folder = clear(run.folder / "hub_dataset_id")
    write_split(folder / "kept", "train", kept)
    write_split(folder / "rejected", "train", rejected)
    facts = {
        "metrics": {"accepted": round(len(kept) / (len(kept) + len(rejected)), 4)},
        "summary": "Worked solutions in `<think>…</think>` with a boxed answer, all verified. "
        "The teacher is a program that errs on purpose now and then, not a language model.",
        "counts": {
            "problems": len(problems),
            "kept": len(kept),
            **{f"rejected: {reason}": number for reason, number in sorted(reasons.items())},
        },
    }
    run.finish({"hub_dataset_id": (folder, facts)})


if __name__ == "__main__":
    launch(main)

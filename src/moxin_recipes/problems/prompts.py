"""Selects problems that can give a signal, and turns them into prompts for GRPO."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError


def without(problems: Dataset, excluded: Sequence[str]) -> Dataset:
    """Returns the problems that `excluded` has no reason for; it has one for each, or is empty.

    Raises RecipeError if no problem is left.
    """
    if not any(excluded):
        return problems
    kept_rows = [index for index, reason in enumerate(excluded) if not reason]
    if not kept_rows:
        raise RecipeError(
            f"`decontaminate`: each of the {len(problems)} problems of `dataset_name` holds an "
            "item of an evaluation set"
        )
    return problems.select(kept_rows)


def with_a_signal(problems: Dataset, rates: Path | None, least: float, most: float) -> Dataset:
    """Returns the problems whose pass rate lies between `least` and `most`, or is not known.

    `rates` is the folder of a distilled dataset with `problem` and `pass_rate`; without it all
    problems stay. Raises RecipeError if no problem is left.
    """
    if rates is None:
        return problems
    columns = ["problem", "pass_rate"]
    table = load_split(rates, "pass_rates", "train", columns, "pass_rates_name")
    rate_of = dict(zip(table["problem"], table["pass_rate"], strict=True))
    kept_rows = [
        index
        for index, problem in enumerate(problems["problem"])
        if problem not in rate_of or least <= rate_of[problem] <= most
    ]
    if not kept_rows:
        raise RecipeError("`min_pass_rate`, `max_pass_rate`: no problem lies between them")
    return problems.select(kept_rows)


def as_prompts(
    problems: Dataset, tokenizer: PreTrainedTokenizerBase, longest: int, suffix: str = ""
) -> Dataset:
    """Returns rows of `prompt` (one user turn) and `answer`, up to `longest` prompt tokens.

    Raises RecipeError if no prompt is short enough.
    """
    rows = []
    for row in problems:
        prompt = [{"role": "user", "content": row["problem"] + suffix}]
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        if len(ids["input_ids"]) <= longest:
            rows.append({"prompt": prompt, "answer": row["answer"]})
    if not rows:
        raise RecipeError(f"`max_prompt_length`: no prompt has at most {longest} tokens")
    return Dataset.from_list(rows)


def left_out(problems: Dataset, clean: Dataset, solvable: Dataset, asked: Dataset) -> lost.Line:
    """Returns what the stage says if it leaves out more than half of the problems.

    `clean` are those without an evaluation item, `solvable` those of them with a signal, `asked`
    those of these with a prompt that is short enough.
    """
    reasons = {
        "contaminated": len(problems) - len(clean),
        "pass rate": len(clean) - len(solvable),
        "prompt too long": len(solvable) - len(asked),
    }
    most = max(reasons, key=lambda reason: reasons[reason])
    if most == "contaminated":
        key, stay = "`decontaminate`", set(clean["problem"])
        gone = [text for text in problems["problem"] if text not in stay]
    elif most == "pass rate":
        key, stay = "`min_pass_rate`, `max_pass_rate`", set(solvable["problem"])
        gone = [text for text in clean["problem"] if text not in stay]
    else:
        key = "`max_prompt_length`"
        gone = sorted(solvable["problem"], key=len, reverse=True)
    return lost.Line("problems", len(problems), reasons, key, gone[: lost.EXAMPLES])

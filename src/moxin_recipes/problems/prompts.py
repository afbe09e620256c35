"""Problems as the prompts of GRPO: those that can give a signal, and are not too long."""

from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from moxin_recipes.chats.template import load_split
from moxin_recipes.recipe.strict import RecipeError


def with_a_signal(problems: Dataset, rates: Path | None, least: float, most: float) -> Dataset:
    """The problems whose pass rate lies from `least` to `most`; those without one stay.

    `rates` is the folder of a distilled dataset, which has `problem` and `pass_rate`; without it
    all problems stay. RecipeError where none is left.
    """
    if rates is None:
        return problems
    columns = ["problem", "pass_rate"]
    table = load_split(rates, "pass_rates", "train", columns, "pass_rates_name")
    known = dict(zip(table["problem"], table["pass_rate"], strict=True))
    chosen = [
        index
        for index, problem in enumerate(problems["problem"])
        if problem not in known or least <= known[problem] <= most
    ]
    if not chosen:
        raise RecipeError("`min_pass_rate`, `max_pass_rate`: no problem lies between them")
    return problems.select(chosen)


def as_prompts(
    problems: Dataset, tokenizer: PreTrainedTokenizerBase, longest: int, suffix: str = ""
) -> Dataset:
    """Rows of `prompt` (one user turn) and `answer`, without prompts of over `longest` tokens."""
    rows = []
    for row in problems:
        prompt = [{"role": "user", "content": row["problem"] + suffix}]
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        if len(ids["input_ids"]) <= longest:
            rows.append({"prompt": prompt, "answer": row["answer"]})
    if not rows:
        raise RecipeError(f"`max_prompt_length`: no prompt has at most {longest} tokens")
    return Dataset.from_list(rows)

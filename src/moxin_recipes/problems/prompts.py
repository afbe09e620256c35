"""Selects problems that can give a signal, and turns them into prompts for GRPO."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from moxin_recipes.chats import left_out
from moxin_recipes.hub.splits import load_split
from moxin_recipes.problems.rows import Problems, beside
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PASS_RATE, TOO_LONG = "pass rate", "too long to ask"
SPECIAL = "special token in a text"
# Names that TRL gives a reward by itself, or reads as something else.
_OF_TRL = frozenset(
    (
        *("prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state"),
        *("log_extra", "log_metric", "environments", "image", "images", "answer"),
    )
)


def keep_with_a_signal(problems: Problems, rates: Path | None, least: float, most: float) -> str:
    """Leaves out problems whose pass rate is known and not between `least` and `most`.

    `rates` is the folder of a distilled dataset with `problem` and `pass_rate`; of several rates of
    a problem the mean counts, and white space does not. Returns a line if some problems have none,
    else "". Raises RecipeError if none has one, if one is no rate, or if no problem is left.
    """
    if rates is None:
        return ""
    rate_of = _rates(rates)

    def known(problem: str) -> float | None:
        return rate_of.get(" ".join(problem.split()))

    asked = [str(problems.texts[place]) for place in problems.places()]
    unknown = sum(known(problem) is None for problem in asked)
    if unknown == len(asked):
        raise RecipeError(
            f"`pass_rates_name`: it has a pass rate of none of the {len(asked)} problems, such as "
            f"“{lost.excerpt(asked[0])}”; name the distilled dataset of these problems"
        )

    def why(problem: str, _: str) -> str:
        rate = known(problem)
        return "" if rate is None or least <= rate <= most else PASS_RATE

    problems.leave_out_where(why)
    line = (
        f"`pass_rates_name`: {unknown} of {len(asked)} problems have no pass rate there, and stay"
    )
    return line if unknown else ""


def _rates(folder: Path) -> dict[str, float]:
    """Problem, its white space made even → its mean pass rate."""
    key, columns = "pass_rates_name", ["problem", "pass_rate"]
    table = load_split(folder, "pass_rates", "train", columns, key)
    rates: dict[str, list[float]] = {}
    for row, (problem, rate) in enumerate(zip(table["problem"], table["pass_rate"], strict=True)):
        if rate is None or not isinstance(problem, str):
            continue  # nobody knows it
        try:
            share = float(rate)
        except (TypeError, ValueError):
            share = -1.0
        if not 0 <= share <= 1:
            said = lost.excerpt(str(rate))
            raise RecipeError(f"`{key}`: row {row}: `pass_rate` is {said}, and not from 0 to 1")
        rates.setdefault(" ".join(problem.split()), []).append(share)
    return {problem: sum(shares) / len(shares) for problem, shares in rates.items()}


def turns(problem: str, system: str | None, suffix: str) -> list[dict[str, str]]:
    """A problem as it is asked: the system prompt, if there is one, and the user's turn.

    A problem that ends with the suffix has it already.
    """
    before = [{"role": "system", "content": system}] if system else []
    asked = problem if problem.endswith(suffix) else problem + suffix
    return [*before, {"role": "user", "content": asked}]


def columns_of(row: dict[str, Any], system: str | None, suffix: str) -> dict[str, Any]:
    """What a reward gets of a problem's row, beside completion and answer."""
    further = {name: value for name, value in row.items() if name not in _OF_TRL}
    return {**further, "prompts": turns(row["problem"], system, suffix)}


def unaskable(
    tokenizer: "PreTrainedTokenizerBase",
    suffix: str,
    system: str | None,
    options: dict[str, Any] | None = None,
) -> Callable[[str, str], str]:
    """Returns what says why a problem (and its answer) cannot be asked, or "".

    It holds a special token, which could end the turn, or the chat template does not write it.
    """
    from moxin_recipes.chats.checks import unasked
    from moxin_recipes.chats.rendering import special_tokens

    special = special_tokens(tokenizer)

    def why(problem: str, _: str) -> str:
        if any(token in problem for token in special):
            return SPECIAL
        reason = unasked(tokenizer, turns(problem, system, suffix), **options or {})
        return f"{left_out.TEMPLATE}: {reason}" if reason else ""

    return why


def as_prompts(
    problems: Problems,
    tokenizer: "PreTrainedTokenizerBase",
    longest: int,
    suffix: str = "",
    system: str | None = None,
    options: dict[str, Any] | None = None,
) -> Dataset:
    """Returns rows of `prompt` (turns), `answer` and the dataset's further columns.

    Leaves out problems that cannot be asked (`unaskable`), or whose prompt has more than `longest`
    tokens. Raises RecipeError if none is left, or if no template writes the system prompt.
    """
    from moxin_recipes.chats.template import check_system  # it loads TRL: distillation need not

    check_system(tokenizer, system, options)
    problems.leave_out_where(unaskable(tokenizer, suffix, system, options))

    def too_long(problem: str, _: str) -> str:
        ids = tokenizer.apply_chat_template(
            turns(problem, system, suffix),
            add_generation_prompt=True,
            return_dict=True,
            **options or {},
        )["input_ids"]
        return TOO_LONG if len(ids) > longest else ""

    problems.leave_out_where(too_long)
    rows = problems.usable()
    asked = [turns(problem, system, suffix) for problem in rows["problem"]]
    made = Dataset.from_dict({"prompt": asked, "answer": rows["answer"][:]})
    return beside(made, rows, [name for name in rows.column_names if name not in _OF_TRL])

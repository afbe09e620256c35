"""Selects problems that can give a signal, and turns them into prompts for GRPO."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from jinja2 import TemplateError

from moxin_recipes.chats import left_out
from moxin_recipes.hub.splits import load_split
from moxin_recipes.problems.rows import Problems, beside
from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PASS_RATE, TOO_LONG = "pass rate", "too long to ask"
# Names that TRL gives a reward by itself, or reads as something else.
_OF_TRL = frozenset(
    (
        *("prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state"),
        *("log_extra", "log_metric", "environments", "image", "images", "answer"),
    )
)


def keep_with_a_signal(problems: Problems, rates: Path | None, least: float, most: float) -> None:
    """Leaves out problems whose pass rate is known and not between `least` and `most`.

    `rates` is the folder of a distilled dataset with `problem` and `pass_rate`. Raises RecipeError
    if no problem is left.
    """
    if rates is None:
        return
    columns = ["problem", "pass_rate"]
    table = load_split(rates, "pass_rates", "train", columns, "pass_rates_name")
    rate_of = dict(zip(table["problem"], table["pass_rate"], strict=True))

    def why(problem: str, _: str) -> str:
        known = rate_of.get(problem)
        return "" if known is None or least <= known <= most else PASS_RATE

    problems.leave_out_where(why)


def turns(problem: str, system: str | None, suffix: str) -> list[dict[str, str]]:
    """A problem as it is asked: the system prompt, if there is one, and the user's turn."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": problem + suffix}]


def columns_of(row: dict[str, Any], system: str | None, suffix: str) -> dict[str, Any]:
    """What a reward gets of a problem's row, beside completion and answer."""
    further = {name: value for name, value in row.items() if name not in _OF_TRL}
    return {**further, "prompts": turns(row["problem"], system, suffix)}


def as_prompts(
    problems: Problems,
    tokenizer: "PreTrainedTokenizerBase",
    longest: int,
    suffix: str = "",
    system: str | None = None,
) -> Dataset:
    """Returns rows of `prompt` (turns), `answer` and the dataset's further columns.

    Leaves out problems whose prompt has more than `longest` tokens, or that the chat template
    refuses. Raises RecipeError if none is left.
    """

    def why(problem: str, _: str) -> str:
        prompt = turns(problem, system, suffix)
        try:
            ids = tokenizer.apply_chat_template(
                prompt, add_generation_prompt=True, return_dict=True
            )["input_ids"]
        except (TemplateError, ValueError, TypeError) as error:
            return f"{left_out.TEMPLATE}: {' '.join(str(error).split())[:100]}"
        return TOO_LONG if len(ids) > longest else ""

    try:
        problems.leave_out_where(why)
    except RecipeError as error:
        raise RecipeError(f"`max_prompt_length` {longest}: {error}") from error
    rows = problems.usable()
    asked = [turns(problem, system, suffix) for problem in rows["problem"]]
    made = Dataset.from_dict({"prompt": asked, "answer": rows["answer"][:]})
    return beside(made, rows, [name for name in rows.column_names if name not in _OF_TRL])

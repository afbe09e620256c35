"""Held-out scores of a saved model: answers to unseen problems."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from moxin_recipes import rewards
from moxin_recipes.chats import template
from moxin_recipes.hub.pull import Pull
from moxin_recipes.hub.splits import load_split
from moxin_recipes.models.rollouts import Sampling, sample
from moxin_recipes.problems import prompts
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe.base import PostTrainingKeys
from moxin_recipes.scores import metrics

_BEGUN = "chain_prefix"  # the column of a chain's beginning
_BATCH = 256  # prompts generated together


@cache
def metric(name: str) -> evaluate.EvaluationModule:
    """One of the metrics of this package."""
    return evaluate.load(str(Path(str(metrics.__file__)).parent / f"{name}.py"))


def load(folder: Path) -> tuple[PreTrainedModel, Tokenizer]:
    """A saved model in float32 (bfloat16 on a GPU) and its tokenizer, ready to score."""
    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return model.to("cuda" if gpu else "cpu"), AutoTokenizer.from_pretrained(folder)


@dataclass(frozen=True)
class Completion:
    """What a model said, special tokens removed, and whether it ended by itself."""

    text: str
    ended: bool


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: list[str],
    max_new_tokens: int,
    sample_seed: int | None = None,
) -> list[Completion]:
    """One completion a prompt: greedy, or sampled at temperature 1 when a seed is given."""
    if sample_seed is not None:
        torch.manual_seed(sample_seed)
    completions, ends = {}, template.ends(tokenizer, model.generation_config)
    # Equal prompts stand together: each is read once in a batch.
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i]))
    for start in range(0, len(order), _BATCH):
        part = order[start : start + _BATCH]
        given = tokenizer([prompts[i] for i in part], add_special_tokens=False)["input_ids"]
        said = sample(
            model,
            given,
            max_new_tokens,
            Sampling(temperature=0.0 if sample_seed is None else 1.0),
            ends,
            tokenizer.pad_token_id,
        )
        for i, ids in zip(part, said, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            completions[i] = Completion(text, ids[-1] in ends)
    return [completions[i] for i in range(len(prompts))]


def plain_rewards(completions: list[str], answers: list[str]) -> list[float]:
    """1 where the reply, or what follows its last `=`, is the answer; the space around is none."""
    pairs = zip(completions, answers, strict=True)
    ends = [({text.strip(), text.rpartition("=")[2].strip()}, right) for text, right in pairs]
    return [float(right.strip() in said) for said, right in ends]


def chain_rewards(completions: list[str], answers: list[str]) -> list[float]:
    """The training reward `math`."""
    return [score.reward for score in rewards.score("math", completions, answers)]


REWARDS_OF_FORMAT: dict[str, Callable[[list[str], list[str]], list[float]]] = {
    "plain": plain_rewards,
    "chain": chain_rewards,
}


def answers(
    folder: Path,
    problems: Dataset,
    answer_format: str,
    *,
    suffix: str = "",
    system: str | None = None,
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Scores on `problem`/`answer` rows, asked with `suffix`: (metrics, per-problem accuracies).

    `accuracy` is sampled pass@1 where `samples` > 1 (then `greedy_accuracy` stands beside it),
    greedy else; `ended` and `well_formed` are shares of those completions.
    """
    model, tokenizer = load(folder)
    texts = asked(problems, tokenizer, suffix, system)
    wanted = list(problems["answer"])
    reward, opened = REWARDS_OF_FORMAT[answer_format], template.opened(tokenizer)

    def run(texts: list[str], sample_seed: int | None = None) -> list[Completion]:
        said = generate(model, tokenizer, texts, max_new_tokens, sample_seed)
        return [Completion(opened + completion.text, completion.ended) for completion in said]

    greedy = run(texts)
    flat = run(texts * samples, seed) if samples > 1 else greedy
    right = reward([c.text for c in flat], wanted * samples)
    which = list(range(len(texts))) * samples
    result = metric("pass_at_one").compute(predictions=right, references=which)
    items = {"accuracy": result.pop("items")}
    scores = {**result, "ended": float(np.mean([c.ended for c in flat]))}
    if answer_format == "chain":
        formed = rewards.score("format", [c.text for c in flat], [""] * len(flat))
        well = [score.reward for score in formed]
        scores["well_formed"] = float(np.mean(well))
    if samples > 1:
        right_at_once = reward([c.text for c in greedy], wanted)
        scores["greedy_accuracy"] = float(np.mean(right_at_once))
    return {name: round(value, 4) for name, value in scores.items()}, items


def asked(
    problems: Dataset, tokenizer: Tokenizer, suffix: str, system: str | None = None
) -> list[str]:
    """Each problem as it is asked (`prompts.turns`), up to where the assistant begins."""
    return [
        tokenizer.apply_chat_template(
            prompts.turns(problem, system, suffix), tokenize=False, add_generation_prompt=True
        )
        for problem in problems["problem"]
    ]


def forced_chains(
    folder: Path,
    problems: Dataset,
    max_new_tokens: int,
    suffix: str = "",
    system: str | None = None,
) -> list[float]:
    """1 or 0 for each problem: greedy, with the full chain (`chain_prefix`) begun for the model."""
    model, tokenizer = load(folder)
    opened = template.opened(tokenizer)
    starts = [start.removeprefix(opened) for start in problems[_BEGUN]]
    begun = asked(problems, tokenizer, suffix, system)
    texts = [text + start for text, start in zip(begun, starts, strict=True)]
    said = generate(model, tokenizer, texts, max_new_tokens)
    completions = [opened + start + c.text for start, c in zip(starts, said, strict=True)]
    return chain_rewards(completions, list(problems["answer"]))


def held_out(model: Path, pull: Pull, keys: PostTrainingKeys) -> dict[str, Any]:
    """Manifest facts (`metrics`, `items`) of the saved model on the unseen problems of its recipe.

    `example` among them is the first of these problems as it is asked, for the model's card. Where
    problems have a `chain_prefix`, `forced_chain_accuracy` stands beside the answers' scores.
    All scores on the problems of `longer_split` begin with `longer_`.
    """
    facts: dict[str, Any] = {"metrics": {}, "items": {}}
    if not keys.problems_name:
        return facts
    tokenizer = AutoTokenizer.from_pretrained(model)
    for prefix, problems in held_out_problems(pull, keys, tokenizer).items():
        rows = _first(problems, keys)
        asked_first = prompts.turns(rows[0]["problem"], keys.system_prompt, keys.prompt_suffix)
        facts.setdefault("example", asked_first)
        scores, items = _on_problems(model, rows, keys)
        facts["metrics"] |= {prefix + name: score for name, score in scores.items()}
        facts["items"] |= {prefix + name: each for name, each in items.items()}
    return facts


def held_out_problems(
    pull: Pull, keys: PostTrainingKeys, tokenizer: Tokenizer
) -> dict[str, Problems]:
    """The problems to score on, by the prefix of their scores; none where the recipe names none.

    Of those that can be used and asked, the first `eval_rows` are.

    Raises:
        RecipeError: a split or a column is missing; a split without rows counts as missing.
    """
    splits = {"": keys.eval_split, "longer_": keys.longer_split} if keys.problems_name else {}
    problems = {}
    for prefix, split in splits.items():
        if split is None:
            continue
        names = (keys.eval_problem_column, keys.eval_answer_column)
        columns = [*names, *([_BEGUN] if prefix else [])]
        key = "problems_name"
        rows = load_split(pull(key), keys.problems_config, split, columns, key, as_written=True)
        read = problems[prefix] = Problems(rows, names, key)
        if keys.answer_format == "chain" and _BEGUN in rows.column_names:
            begun = rows[_BEGUN][:]
            read.leave_out(["" if isinstance(one, str) else f"no `{_BEGUN}`" for one in begun])
        read.leave_out_where(prompts.unaskable(tokenizer, keys.prompt_suffix, keys.system_prompt))
    return problems


def left_out(pull: Pull, keys: PostTrainingKeys, tokenizer: Tokenizer) -> dict[str, Dataset]:
    """The problems that cannot be asked or graded, row and reason, by the name of their list."""
    lists = {
        f"{prefix}problems_left_out": problems.left_out()
        for prefix, problems in held_out_problems(pull, keys, tokenizer).items()
    }
    return {name: rows for name, rows in lists.items() if len(rows)}


def _first(problems: Problems, keys: PostTrainingKeys) -> Dataset:
    usable = problems.usable()
    return usable.select(range(min(keys.eval_rows, len(usable))))


def prove(pull: Pull, keys: PostTrainingKeys, tokenizer: Tokenizer) -> None:
    """That the scores of `held_out` can be taken, as far as that shows before there is a model.

    Raises:
        RecipeError: see `held_out_problems`; or no template writes the system prompt.
    """
    if keys.problems_name:
        template.check_system(tokenizer, keys.system_prompt)
    for problems in held_out_problems(pull, keys, tokenizer).values():
        problems.say()


def _on_problems(
    model: Path, problems: Dataset, keys: PostTrainingKeys
) -> tuple[dict[str, float], dict[str, list[float]]]:
    scores, items = answers(
        model,
        problems,
        keys.answer_format,
        suffix=keys.prompt_suffix,
        system=keys.system_prompt,
        samples=keys.eval_samples,
        max_new_tokens=keys.eval_max_new_tokens,
        seed=keys.seed,
    )
    if keys.answer_format == "chain" and _BEGUN in problems.column_names:
        said = (keys.prompt_suffix, keys.system_prompt)
        right = forced_chains(model, problems, keys.eval_max_new_tokens, *said)
        forced = metric("pass_at_one").compute(
            predictions=right, references=list(range(len(right)))
        )
        items["forced_chain_accuracy"] = right
        scores["forced_chain_accuracy"] = round(forced["accuracy"], 4)
        scores["forced_chain_accuracy_stderr"] = round(forced["accuracy_stderr"], 4)
    return scores, items

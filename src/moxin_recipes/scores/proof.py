"""What `moxin check` says of evaluations before anything is scored: every task, on every model."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs
from transformers import AutoConfig, AutoTokenizer

from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.hub.session import qualified
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import questions, records
from moxin_recipes.scores.scoring import reason
from moxin_recipes.scores.units import Unit, dataset_of, plan

_PROMPTS = 20  # of each task that are measured
_NO_WEIGHTS = ["*.json", "*.jinja", "*.model", "*.txt"]


def problems(keys: EvaluateKeys, parents: Sequence[Parent]) -> Iterator[str]:
    """A sentence for each task that cannot be asked; `parents` are the inputs that are there.

    The dataset is read where the Hub has it, and the template and the context where it has the
    model.
    """
    pinned = [*parents, *_absent(keys, parents)]
    proven = set()  # what is asked of several models that are not there is one question
    for line in plan(keys, pinned):
        if line.failed and line.failed not in proven:
            proven.add(line.failed)
            yield line.failed
        for unit in line.units:
            question = records.key_of(unit.parent.commit, unit.leaf.name, unit.settings)
            if question not in proven:
                proven.add(question)
                yield from _of_unit(unit, keys, pinned)


def _absent(keys: EvaluateKeys, parents: Sequence[Parent]) -> list[Parent]:
    """Stands for the models that nobody has made yet."""
    there = {(parent.repo, parent.revision) for parent in parents if parent.key == "models"}
    named = [entry.partition("@") for entry in keys.models]
    wanted = [(qualified(repo), revision or "main") for repo, _, revision in named]
    return [
        Parent("models", "model", repo, revision, "", "")
        for repo, revision in wanted
        if revision != "*" and (repo, revision) not in there
    ]


def _of_unit(unit: Unit, keys: EvaluateKeys, parents: list[Parent]) -> Iterator[str]:
    try:
        _prove(unit, keys, parents)
    except Exception as error:  # of any library: each is what a run would fail of
        yield f"{unit.leaf.name} ({unit.model}): {reason(error)}"


def _prove(unit: Unit, keys: EvaluateKeys, parents: list[Parent]) -> None:
    """Raises what a run of this unit would fail of, as far as what is there tells."""
    questions.prove(unit.leaf, unit.asked)
    model = _Shell(unit.parent) if unit.parent.commit else None
    if model and unit.asked.chat and model.tokenizer.chat_template is None:
        raise RecipeError("`chat: true`: the model has no chat template; leave it out")
    dataset = dataset_of(unit.leaf, parents)
    held_out = any(parent.key == "problems_name" for parent in parents)
    if (unit.leaf.repository and dataset is None) or (unit.leaf.is_ours and not held_out):
        return

    def pull(key: str, patterns: list[str] | None = None) -> Path:
        return download(next(parent for parent in parents if parent.key == key), patterns)

    with tempfile.TemporaryDirectory() as work:
        commit = dataset.commit if dataset else None
        task = questions.build(unit.leaf, unit.asked, commit, pull, Path(work))
        if model:
            limit = min(keys.limit or _PROMPTS, _PROMPTS)
            instances = questions.ask(task, unit.asked, limit, model.template)
            model.check_lengths(instances)


class _Shell:
    """A model without its weights."""

    def __init__(self, parent: Parent) -> None:
        folder = download(parent, _NO_WEIGHTS)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        self._context: int = getattr(config, "max_position_embeddings", 0)  # 0: nobody says

    def template(self, turns: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The chat as the model reads it."""
        text: str = self.tokenizer.apply_chat_template(
            turns,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def check_lengths(self, instances: list[Any]) -> None:
        """Raises RecipeError where a prompt and its answer are longer than the context."""
        for instance in instances if self._context else []:
            prompt, *rest = instance.args
            if instance.request_type == "loglikelihood_rolling":
                continue  # scored in windows
            if instance.request_type == "generate_until":
                answer = normalize_gen_kwargs(rest[0])["max_gen_toks"]
            else:
                answer = len(self.tokenizer(rest[0], add_special_tokens=False)["input_ids"])
            length = len(self.tokenizer(prompt)["input_ids"])
            if length + answer > self._context:
                raise RecipeError(
                    f"a prompt of {length:,} tokens and an answer of {answer:,} are more than the "
                    f"model's context of {self._context:,}; ask with fewer `num_fewshot`, or set "
                    "`generation: {max_tokens: …}`"
                )

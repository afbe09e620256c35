"""How many tokens a stage trains on and generates: from its recipe, and from published tables."""

from dataclasses import dataclass, field
from typing import Any

from moxin_recipes.ladder import order
from moxin_recipes.plan.models import maker
from moxin_recipes.plan.published import DATASETS, Rows
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.keys.dpo import DpoKeys
from moxin_recipes.recipe.keys.grpo import GrpoKeys
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.reading import Recipe

TOKEN_TEXT = 4.0  # bytes of text a token, an estimate (docs/data.md)


@dataclass
class Work:
    """What a stage computes; `tokens` is None where its rows are not known."""

    tokens: float | None  # that are trained on, each as often as it is read
    length: float = 0.0  # of a sequence, on average, for attention
    passes: float = 3.0  # a token, in forward passes; a backward pass is two
    steps: int | None = None
    generations: float = 0.0  # times that completions are sampled, a step's at a time
    completions: int = 0  # of a step
    prompt: int = 0  # tokens of one
    completion: int = 0  # tokens of one
    assumed: list[str] = field(default_factory=list)  # sentences


def of_stage(recipes: order.Recipes, recipe: Recipe[Any], args: Any) -> Work:
    """The work of a stage that trains; `args` is the trainer's dataclass as it is launched.

    `recipes` are those that may have made its dataset.
    """
    keys = recipe.keys
    if isinstance(keys, PretrainKeys):
        tokens = args.max_steps * keys.global_batch_size * keys.context_length
        return Work(tokens, keys.context_length, steps=args.max_steps)
    grpo = isinstance(keys, GrpoKeys)
    work = _grpo(keys, args) if grpo else _of_rows(recipes, recipe, args)
    if recipe.values.get("use_peft"):
        # The weights of the model itself have no gradients: half of the backward pass.
        work.passes -= 1
    return work


def _grpo(keys: GrpoKeys, args: Any) -> Work:
    """Completions as long as they may be: generated, scored by model and reference, trained on."""
    sampled = getattr(args, "use_vllm", False) and args.vllm_importance_sampling_correction
    old = bool(sampled or args.num_iterations > 1)
    length = keys.max_prompt_length + args.max_completion_length
    work = Work(
        tokens=None,
        length=length,
        passes=3 + (old + bool(args.beta)) / args.num_iterations,
        completions=keys.global_batch_size,
        prompt=keys.max_prompt_length,
        completion=args.max_completion_length,
    )
    if args.max_steps < 1:
        work.assumed.append("`max_steps` is not in the recipe: neither tokens nor hours are known")
        return work
    work.steps = args.max_steps
    work.generations = args.max_steps / args.num_iterations
    work.tokens = float(args.max_steps * work.completions * length)
    work.assumed.append(
        "every prompt and completion is as long as allowed (`max_prompt_length`, "
        "`max_completion_length`): at most so many tokens"
    )
    return work


def _of_rows(recipes: order.Recipes, recipe: Recipe[Any], args: Any) -> Work:
    """SFT and DPO read rows: as many as are known, each once an epoch."""
    pairs = isinstance(recipe.keys, DpoKeys)
    most = args.max_length * (2 if pairs else 1)
    # The reference's pass over a pair; with an adapter it is the model without it.
    passes = 4.0 if pairs else 3.0
    count, size, assumed = _rows(recipes, recipe)
    each = min(float(most), size / TOKEN_TEXT) if size else float(most)
    length = min(float(args.max_length), each / (2 if pairs else 1))
    work = Work(None, length, passes, assumed=assumed)
    batch = recipe.keys.global_batch_size
    if args.max_steps > 0:
        work.steps = args.max_steps
        work.tokens = float(args.max_steps * batch * (each if pairs else most))
    elif count:
        work.tokens = args.num_train_epochs * count * each
        rows = args.num_train_epochs * (count if pairs else count * each / most)
        work.steps = max(1, int(rows // batch))
    if count and not size and args.max_steps < 1:
        work.assumed.append(f"every row is as long as allowed (`max_length` {args.max_length:,})")
    return work


def _rows(recipes: order.Recipes, recipe: Recipe[Any]) -> tuple[int, float, list[str]]:
    """(rows, bytes of one, what is assumed); 0 for what nobody tells."""
    made = maker(recipes, recipe, ("dataset_name",))
    name = recipe.keys.dataset_name.partition("@")[0]
    if made is not None:
        return _made_rows(recipes, made, made_by_us=_kind(made, name))
    if name in DATASETS:
        return _published([name])
    return 0, 0.0, [f"the rows of {name} are not known: neither tokens nor hours are"]


def _made_rows(
    recipes: order.Recipes, made: Recipe[Any], made_by_us: str
) -> tuple[int, float, list[str]]:
    """Those of a set that another recipe makes."""
    keys = made.keys
    if isinstance(keys, DataKeys):
        count = int(getattr(keys, made_by_us, 0))
        return count, 0.0, [f"{count:,} rows (`{made_by_us}` of {made.name})"]
    if isinstance(keys, DistillKeys) and keys.traces:
        return _published([traces.dataset.partition("@")[0] for traces in keys.traces])
    if isinstance(keys, DistillKeys):
        before = maker(recipes, made, ("dataset_name",))
        if before is not None and isinstance(before.keys, DataKeys):
            count = before.keys.problem_rows * keys.samples
            return count, 0.0, [f"every problem of {before.name} is solved: {count:,} rows at most"]
    return 0, 0.0, [f"the rows that {made.name} makes are not known"]


def _kind(made: Recipe[Any], name: str) -> str:
    """The key of a data stage that says the rows of one of its outputs."""
    keys = {"hub_chat_id": "chat_rows", "hub_preferences_id": "preference_rows"}
    outputs = {repo: key for key, repo in made.outputs.items()}
    return keys.get(outputs.get(name, ""), "problem_rows")


def _published(names: list[str]) -> tuple[int, float, list[str]]:
    """The sum of published sets, if all of them are known."""
    unknown = [name for name in names if name not in DATASETS]
    if unknown:
        return 0, 0.0, [f"the rows of {unknown[0]} are not known: neither tokens nor hours are"]
    known: list[Rows] = [DATASETS[name] for name in names]
    count = sum(one.rows for one in known)
    size = sum(one.rows * one.size for one in known) / count
    assumed = [
        f"{name}: {one.rows:,} rows of {one.size:,.0f} bytes ({one.source}), all of them used, "
        f"{TOKEN_TEXT:g} bytes a token"
        for name, one in zip(names, known, strict=True)
    ]
    return count, size, assumed

"""The key that the first form of these recipes gave a result: artifacts pushed then stay done.

It took every key but those that a pattern named, with the defaults of our own keys: a time-out made
another result of the same weights.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moxin_recipes.recipe.fields import defaults

if TYPE_CHECKING:
    from moxin_recipes.recipe.reading import Recipe

_LEFT_OUT = re.compile(
    r"(output_dir|accelerate_config|push_to_hub|(push|keep)_checkpoints|push_training_state"
    r"|hub_.*|logging_.*|log_.*|report_to|base_url|vllm_server_.*|dataset_num_proc|request_seconds"
    r"|run_name|project|trackio_.*|disable_tqdm|save_.*|use_cpu|gpu_.*|max_skipped_steps"
    r"|token_cache_.*|executor|workers|slurm_.*)$"
)
_INPUTS = (
    "model_name_or_path",
    "tokenizer_name_or_path",
    "dataset_name",
    "problems_name",
    "pass_rates_name",
    "corpus_name",
    "models",
    "datasets",
)
# Keys of ours that came later; their defaults had no part in it.
_LATER: tuple[str, ...] = (
    *("accept_parts", "system_prompt", "problem_column", "answer_column"),
    *("eval_problem_column", "eval_answer_column", "messages_column"),
    *("prompt_column", "chosen_column", "rejected_column"),
    *("selective_checkpointing", "bigrams_name"),
)
# Those that only some stages had then: key → these stages.
_LATER_ELSEWHERE = {"decontaminate": ("data",)}


def key(recipe: "Recipe[Any]", payloads: Sequence[tuple[str, str]], files: dict[str, str]) -> str:
    """sha256 (hex) of the values that counted then, the payloads and the user's own files."""
    usual = defaults(recipe.keys)
    values = {
        name: value
        for name, value in recipe.resolved.items()
        if not _LEFT_OUT.match(name)
        and name not in _INPUTS
        # With another value it is no result of then.
        and not (_is_later(name, recipe.stage) and value == usual[name])
    }
    text = json.dumps([_canonical(values), payloads, files], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_later(name: str, stage: str) -> bool:
    return name in _LATER or stage not in _LATER_ELSEWHERE.get(name, (stage,))


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

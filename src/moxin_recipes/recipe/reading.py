"""YAML → typed, checked recipe: the only reader of recipes."""

import dataclasses
import difflib
import hashlib
import json
import re
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from moxin_recipes import environment
from moxin_recipes.recipe import arguments, data_arguments, user_files
from moxin_recipes.recipe.strict import Loader, RecipeError, conform, required

# Keys that name an input, with the type of its repository.
REFERENCES = {
    "model_name_or_path": "model",
    "tokenizer_name_or_path": "model",
    "dataset_name": "dataset",
    "problems_name": "dataset",
    "pass_rates_name": "dataset",
    "corpus_name": "dataset",
    "models": "model",
    "datasets": "dataset",
}
STAGES: dict[str, type[arguments.StageKeys]] = {
    "data": arguments.DataKeys,
    "init": arguments.InitKeys,
    "pretrain": arguments.PretrainKeys,
    "sft": arguments.SftKeys,
    "dpo": arguments.DpoKeys,
    "distill": arguments.DistillKeys,
    "grpo": arguments.GrpoKeys,
    "evaluate": arguments.EvaluateKeys,
    "release": arguments.ReleaseKeys,
}
TRAINING_STAGES = ("pretrain", "sft", "dpo", "grpo")
_REFUSED = {
    "gradient_accumulation_steps": "it follows from global_batch_size",
    "trust_remote_code": "no code of a repository is run here",
    "hub_token": "secrets do not belong in a recipe; set HF_TOKEN or run `hf auth login`",
    "hub_revision": "each stage pushes to main, to its tag, and to its step branches",
    "hub_strategy": "save_steps and push_checkpoints say what is pushed",
    "resume_from_checkpoint": "a stage goes on from its own last checkpoint by itself",
    "enable_jit_checkpoint": "a checkpoint at SIGTERM would pass for the end of training",
    "auto_find_batch_size": "global_batch_size says how many sequences a step has",
    "ignore_data_skip": "a stage goes on where it stopped",
    "save_only_model": "a checkpoint without its optimizer cannot be gone on from",
    "packing": "chats are always packed, and never see each other",
    "assistant_only_loss": "only the assistant's words are learned, always",
    "model_revision": "write model_name_or_path: REPOSITORY@REVISION",
    "load_in_4bit": "weights are trained as they are; LoRA keys (use_peft) save memory",
    "load_in_8bit": "weights are trained as they are; LoRA keys (use_peft) save memory",
    "env": "set environment variables where the stage is launched",
}
# They say where and how a stage runs, logs and pushes, not what comes out of it.
_KEYLESS = re.compile(
    r"(output_dir|accelerate_config|push_to_hub|(push|keep)_checkpoints|hub_.*|logging_.*|log_.*"
    r"|report_to|base_url|vllm_server_.*|dataset_num_proc|request_seconds|run_name|project|trackio_.*|disable_tqdm"
    r"|save_.*|use_cpu|gpu_.*|max_skipped_steps|token_cache_.*|executor|workers|slurm_.*)$"
)


@dataclass(frozen=True)
class Reference:
    """An input: `key` of the recipe, repository and revision as written there."""

    key: str
    type: str
    repo: str
    revision: str


@dataclass(frozen=True)
class Recipe:
    """The flat keys of one file with the command line's on top; plain data."""

    path: Path
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """File name without its ending, as `--from` and `status` have it: `30-sft`."""
        return self.path.stem

    @property
    def ladder(self) -> str:
        """Name of the folder that the recipe is in."""
        return self.path.resolve().parent.name

    @property
    def tag(self) -> str:
        """Name without its number, the tag of the finished stage on the Hub: `sft`."""
        return self.name.split("-", 1)[-1]

    @property
    def stage(self) -> str:
        """The module under `stages/` that runs it."""
        return str(self.values["stage"])

    @property
    def output_dir(self) -> Path:
        """Folder of this stage's local files."""
        given = self.values.get("output_dir")
        default = environment.home() / "runs" / self.ladder / self.name
        return Path(given) if given else default

    @property
    def outputs(self) -> dict[str, str]:
        """Key → repository, for each repository the stage pushes; the first one is the main one."""
        return {
            key: value
            for key, value in self.values.items()
            if key.startswith("hub_") and key.endswith("_id") and value
        }

    @property
    def references(self) -> list[Reference]:
        """All inputs, in the order of their keys."""
        found = []
        for key in sorted(set(REFERENCES) & set(self.values)):
            value = self.values[key]
            for written in value if isinstance(value, list) else [value]:
                if written is not None:
                    repo, _, revision = str(written).partition("@")
                    found.append(Reference(key, REFERENCES[key], repo, revision or "main"))
        for key, kind, written in data_arguments.inputs(self.values):
            repo, _, revision = written.partition("@")
            found.append(Reference(key, kind, repo, revision or "main"))
        return found

    @property
    def resolved(self) -> dict[str, Any]:
        """All keys of our own with their defaults, and what the file sets of the trainers'."""
        whole = {
            field.name: field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
            for field in dataclasses.fields(STAGES[self.stage])
            if field.name not in required(STAGES[self.stage])
        }
        return whole | self.values

    def key(self, payloads: list[tuple[str, str]]) -> str:
        """sha256 (hex) of what decides the result, the user's own files that it names included.

        `payloads` are (recipe key, payload digest) in the order of `references`.
        """
        own = {
            key: value
            for key, value in self.resolved.items()
            if not _KEYLESS.match(key) and key not in REFERENCES
        }
        whole = [_canonical(own), payloads, user_files.digests(self.values)]
        text = json.dumps(whole, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """The value with 10.0 as 10, so that it makes no odds how a number was written."""
    if isinstance(value, dict):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def output_type(key: str) -> str:
    """Repository type of an output key: `hub_model_id` and `hub_tokenizer_id` hold models."""
    return "model" if key in ("hub_model_id", "hub_tokenizer_id") else "dataset"


def load(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Reads one recipe with `--key value` pairs of the command line on top; see `check`."""
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; give a recipe file") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    if not isinstance(values, dict) or values.get("stage") not in STAGES:
        raise RecipeError(f"{path}: `stage` must be one of {', '.join(STAGES)}")
    return Recipe(path, values | _command_line(overrides or []))


def check(recipe: Recipe) -> None:
    """Raises RecipeError for a key that is unknown, refused, missing or of the wrong type."""
    try:
        hints = known_keys(recipe.stage)
        for key, value in recipe.values.items():
            recipe.values[key] = _checked(key, value, hints)
        missing = [key for key in required(STAGES[recipe.stage]) if key not in recipe.values]
        if missing:
            raise RecipeError(f"`{missing[0]}` is missing")
        if recipe.stage == "pretrain" and recipe.values.get("max_steps", 0) < 1:
            raise RecipeError("`max_steps` is missing: a phase is so many steps, not epochs")
        if recipe.values.get("z_loss") and recipe.values.get("use_liger_kernel"):
            raise RecipeError("`z_loss`: liger's kernel knows none; leave out `use_liger_kernel`")
        if recipe.values.get("save_total_limit") == 1:
            raise RecipeError(
                "`save_total_limit` must be 2 or more: a kill while one is written leaves the other"
            )
    except RecipeError as error:
        raise RecipeError(f"{recipe.path}: {error}") from None


def _command_line(words: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--") or len(word) == 2:
            raise RecipeError(f"`{word}` is not an option; write --key value")
        key, equals, value = word[2:].partition("=")
        following = words[position + 1] if position + 1 < len(words) else "--"
        if not equals and not following.startswith("--"):
            value = following
            position += 1
        elif not equals:
            value = "true"
        if key in values:
            raise RecipeError(f"`--{key}` is given twice")
        values[key] = yaml.load(value, Loader)  # noqa: S506 (a SafeLoader)
        position += 1
    return values


@cache
def trainer_dataclasses(stage: str) -> tuple[type, ...]:
    """The dataclasses of transformers and TRL behind a stage; imports them late."""
    if stage == "pretrain":
        from transformers import TrainingArguments

        return (TrainingArguments,)
    if stage in TRAINING_STAGES:
        import trl

        own = {"sft": trl.SFTConfig, "dpo": trl.DPOConfig, "grpo": trl.GRPOConfig}
        return (trl.ModelConfig, own[stage])
    return ()


@cache
def known_keys(stage: str) -> dict[str, Any]:
    """Key → type hint of everything a recipe of this stage may set; ours win over theirs."""
    hints: dict[str, Any] = {}
    for kind in (*trainer_dataclasses(stage), STAGES[stage]):
        hints |= typing.get_type_hints(kind)
    return hints


def _checked(key: str, value: Any, hints: dict[str, Any]) -> Any:
    if key in _REFUSED:
        raise RecipeError(f"`{key}` is not a key of a recipe: {_REFUSED[key]}")
    if key not in hints:
        near = difflib.get_close_matches(key, hints, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise RecipeError(f"unknown key `{key}`{hint}")
    return conform(key, value, hints[key])

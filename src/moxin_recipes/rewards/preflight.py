"""Checks, before GRPO spends anything, that samples end and that rewards see them and differ."""

import logging
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOTrainer

from moxin_recipes import rewards
from moxin_recipes.chats import template
from moxin_recipes.chats.rendering import special_tokens
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.known_answers import HOSTILE, KNOWN

log = logging.getLogger(__name__)

PROBED_GROUPS = 128  # if 1 group in 20 has a signal, all of them miss it once in 700 runs


def check_marks(tokenizer: PreTrainedTokenizerBase, names: list[str]) -> None:
    """Raises RecipeError unless the rewards `names` see the marks that they need.

    TRL decodes completions without special tokens before a reward sees them. So marks such as
    `<think>` must not be special tokens.
    """
    for name in names:
        for text, answer, expected in KNOWN.get(name, [])[:1]:
            seen = tokenizer.decode(
                tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=True
            )
            if rewards.score(name, [seen], [answer])[0].reward == expected:
                continue
            lost = [token for token in special_tokens(tokenizer) if token in text]
            reason = (
                f"special tokens of its tokenizer ({', '.join(lost)}) are removed before a reward "
                "sees them; marks such as <think> must not be special tokens: save it with them "
                "as ordinary ones"
                if lost
                else f"its tokenizer gives {text!r} back as {seen!r}"
            )
            raise RecipeError(f"`model_name_or_path`: {name} would refuse a right answer: {reason}")


def check_files_end(model: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises RecipeError unless whoever reads the files in `model` stops where a turn ends.

    vLLM reads them by itself, and not what this process has put right.
    """
    try:
        config = GenerationConfig.from_pretrained(model)
    except OSError:  # an older model has the ends in its config only
        config = GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))
    named = template.ends(AutoTokenizer.from_pretrained(model), config, chat=False)
    end = template.ends(tokenizer, config)[0]
    if end not in named:
        raise RecipeError(
            f"`use_vllm`: vLLM would stop at {named}, as the model's files say, and "
            f"turns end with {tokenizer.decode(end)}; add {end} to `eos_token_id` in its "
            "generation_config.json, or tune it with SFT first, which does so"
        )


def of_trainer(tokenizer: PreTrainedTokenizerBase, steps: int) -> dict[str, Any]:
    """Returns what TRL's trainer gives to a reward beside the dataset's columns, for `HOSTILE`.

    `completion_ids` end with the EOS; `trainer_state` is at the start of `steps`; what a reward
    logs is dropped.
    """
    ids = tokenizer([*HOSTILE], add_special_tokens=False)["input_ids"]
    return {
        "completion_ids": [[*one, tokenizer.eos_token_id] for one in ids],
        "trainer_state": TrainerState(max_steps=max(1, steps)),
        "log_metric": lambda name, value: None,  # noqa: ARG005 (TRL calls it by these names)
        "log_extra": lambda column, values: None,  # noqa: ARG005
    }


class Probe(TrainerCallback):
    """Samples groups like the first step, and refuses to train if none of them has a signal.

    It runs after the set-up (sharding, vLLM) and before any update, on the code path of training.
    It leaves no trace in the metrics or in the random state.
    """

    def __init__(self, prompts: Dataset) -> None:
        self._prompts = prompts
        self.trainer: GRPOTrainer | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 (the signature of a callback)
        **_: Any,
    ) -> None:
        """Raises RecipeError if all rewards are equal within each of the probed groups."""
        trainer = self.trainer
        if trainer is None or state.global_step:
            return
        size, ranks = trainer.num_generations, trainer.accelerator.num_processes
        process_completions = args.per_device_train_batch_size * trainer.args.steps_per_generation
        groups = max(1, process_completions * ranks // size)  # groups in one generation
        probed = 0
        trainer.model.train()  # otherwise it would sample as for an evaluation
        with torch.random.fork_rng(), torch.no_grad():
            while probed < min(PROBED_GROUPS, len(self._prompts)):
                rows = [
                    self._prompts[(probed + index // size) % len(self._prompts)]
                    for index in range(process_completions * ranks)
                ]
                first = process_completions * trainer.accelerator.process_index
                process_rows = rows[first : first + process_completions]
                output = trainer._generate_and_score_completions(process_rows)
                probed += groups
                # Equal rewards differ by rounding, up to 1e-3 of TRL's standardised advantage.
                signal = (output["advantages"].abs() > 1e-2).any().reshape(1)
                if trainer.accelerator.gather(signal).any():
                    break
            else:
                raise RecipeError(
                    f"`rewards`: all completions of a group got the same reward in each of {probed}"
                    f" groups of {size}, so there is nothing to learn from; look at `dataset_name` "
                    "(too hard or too easy), `temperature`, `max_completion_length` (cut before "
                    "the answer), `model_name_or_path` (does it write what the rewards ask for?)"
                )
        trainer._metrics["train"].clear()
        for column in trainer._logs.values():
            column.clear()
        state.num_input_tokens_seen = 0
        if state.is_world_process_zero:
            log.info("the probe found a signal within %d groups of %d", probed, size)

"""Checks, before GRPO spends anything, that the model ends its turns and rewards give a signal."""

import logging
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOTrainer

from moxin_recipes import rewards
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards.known_answers import KNOWN

log = logging.getLogger(__name__)

PROBED_GROUPS = 128  # if 1 group in 20 has a signal, all of them miss it once in 700 runs


def check_ending(model: Path, tokenizer: PreTrainedTokenizerBase, names: list[str]) -> None:
    """Raises RecipeError unless turns end with EOS, generation stops there, and marks survive.

    TRL decodes completions without special tokens before the reward sees them. So marks such as
    `<think>` must not be special tokens.
    """
    eos = tokenizer.eos_token_id
    turns = [{"role": "user", "content": "x"}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    turns.append({"role": "assistant", "content": "y"})
    ended = tokenizer.apply_chat_template(turns, tokenize=False)
    if not ended.startswith(prompt) or tokenizer.eos_token not in ended[len(prompt) :]:
        raise RecipeError(
            f"`model_name_or_path`: its chat template does not end the assistant's turn with "
            f"{tokenizer.eos_token}; completions would never end"
        )
    end_ids = GenerationConfig.from_pretrained(model).eos_token_id
    if eos not in (end_ids if isinstance(end_ids, list) else [end_ids]):
        raise RecipeError(
            f"`model_name_or_path`: its generation config ends at {end_ids}, its tokenizer at {eos}"
        )
    for name in names:
        for text, answer, expected in KNOWN.get(name, [])[:1]:
            seen = tokenizer.decode(
                tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=True
            )
            if rewards.score(name, [seen], [answer])[0].reward != expected:
                raise RecipeError(
                    f"`model_name_or_path`: {name} would see {seen!r} for {text!r}; marks such as "
                    "<think> must not be special tokens"
                )


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

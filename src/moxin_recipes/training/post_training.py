"""Loads the model from which SFT, DPO and GRPO start, and pushes the model that they train."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from trl import get_peft_config

from moxin_recipes.run import Run
from moxin_recipes.scores.held_out import held_out


class Start:
    """The model of the key `model_name_or_path` and its tokenizer, for TRL's trainers."""

    def __init__(self, run: Run[Any, Any]) -> None:
        self._run = run
        self.folder: Path = run.pull("model_name_or_path")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)

    def model(self, config: PretrainedConfig | None = None) -> PreTrainedModel:
        """Returns the weights in the recipe's dtype; `config` replaces the model's own config."""
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            self.folder, **self.load_options(), **({"config": config} if config else {})
        )
        return model

    def load_options(self) -> dict[str, Any]:
        """Returns the recipe's dtype and attention."""
        recipe = self._run.model_config
        return {"dtype": recipe.dtype, "attn_implementation": recipe.attn_implementation}

    def options(self) -> dict[str, Any]:
        """Returns the options that all of TRL's trainers share."""
        return {
            "args": self._run.args,
            "processing_class": self.tokenizer,
            "peft_config": get_peft_config(self._run.model_config),
        }


def push(
    run: Run[Any, Any],
    facts: dict[str, Any],
    summary: str,
    *,
    metrics: dict[str, float] | None = None,
    **left_out: Dataset,
) -> None:
    """Scores the trained model on held-out problems, and pushes it with the stage's facts.

    `metrics` are the stage's own. Each further argument is a dataset of rows that training left
    out; it is saved beside the model as NAME.parquet.
    """
    for name, rows in left_out.items():
        rows.to_parquet(run.folder / f"{name}.parquet")
    scored = held_out(run, run.keys)
    scored["metrics"] |= metrics or {}
    summary = f"{summary} (`{run.recipe.name}`)."
    run.finish({"hub_model_id": (run.folder, {**facts, **scored, "summary": summary})})

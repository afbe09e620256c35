"""What SFT, DPO and GRPO share: the model that a run starts from, and the push of what it made."""

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
    """The model of the key `model_name_or_path`, with its tokenizer, as TRL's trainers take it."""

    def __init__(self, run: Run[Any, Any]) -> None:
        self._run = run
        self.folder: Path = run.pull("model_name_or_path")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)

    def model(self, config: PretrainedConfig | None = None) -> PreTrainedModel:
        """The weights in the recipe's dtype; `config` stands in for the model's own."""
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            self.folder, **self.load_options(), **({"config": config} if config else {})
        )
        return model

    def load_options(self) -> dict[str, Any]:
        """Dtype and attention, as the recipe says."""
        recipe = self._run.model_config
        return {"dtype": recipe.dtype, "attn_implementation": recipe.attn_implementation}

    def options(self) -> dict[str, Any]:
        """What each of TRL's trainers is given."""
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

    `metrics` are those of the stage itself. Each further argument is a list of rows that were not
    trained on; it is saved beside the model as NAME.parquet.
    """
    for name, rows in left_out.items():
        rows.to_parquet(run.folder / f"{name}.parquet")
    scored = held_out(run, run.keys)
    scored["metrics"] |= metrics or {}
    summary = f"{summary} (`{run.recipe.name}`)."
    run.finish({"hub_model_id": (run.folder, {**facts, **scored, "summary": summary})})

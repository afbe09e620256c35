"""What SFT, DPO and GRPO share: the model they start from, the training, the push of the result."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)
from trl import GRPOTrainer

from moxin_recipes.chats import template
from moxin_recipes.documents import contaminated, evaluation_sets
from moxin_recipes.hub.splits import load_split
from moxin_recipes.models import rollouts
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import held_out
from moxin_recipes.training import adapters, checkpoints
from moxin_recipes.training.job import Job

log = logging.getLogger(__name__)


class PostTraining:
    """One run on the model of `model_name_or_path`, its tokenizer, one of TRL's trainers."""

    def __init__(self, run: Job) -> None:
        self._run = run
        self.folder: Path = run.pull("model_name_or_path")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)
        self._overlap: tuple[str, contaminated.Contaminated] | None = None

    def rows(self, columns: list[str], split: str | None = None) -> Dataset:
        """A split of the recipe's dataset, by default the one to train on, with these columns.

        The cells of JSON and CSV files are what stands there.
        """
        keys, key = self._run.keys, "dataset_name"
        split = split or keys.dataset_train_split
        folder = self._run.pull(key)
        return load_split(folder, keys.dataset_config, split, columns, key, as_written=True)

    def excluded(self, rows: Dataset, row_name: str) -> Sequence[str]:
        """Why each of the `rows` to train on is left out: `contaminated: SET (rule)`, or "".

        Empty without `decontaminate`. A row goes if its texts hold an item of one of these sets;
        `push` reports them, and lists them under `row_name` (`chat`, `pair`, `problem`).
        """
        run, sets = self._run, self._run.keys.decontaminate
        if not sets:
            return ()
        folders = {key: run.pull(key) for key in evaluation_sets.keys(sets)}
        with run.ranks.in_turn(f"the evaluation items in each {row_name}"):
            found = contaminated.search(
                rows,
                run.keys.dataset_name,
                evaluation_sets.items(sets, folders.__getitem__),
                run.state / "contamination",
                getattr(run.args, "dataset_num_proc", None),
            )
        if run.is_main:
            log.info("%s", found.line(row_name))
        self._overlap = row_name, found
        return found.reasons

    def model(self, config: PretrainedConfig | None = None) -> PreTrainedModel:
        """The weights in the recipe's dtype; `config` stands in for the model's own."""
        options = self.load_options() | ({"config": config} if config else {})
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.folder, **options)
        return model

    def load_options(self) -> dict[str, Any]:
        """Dtype and attention, as the recipe says."""
        recipe = self._run.model_config
        return {"dtype": recipe.dtype, "attn_implementation": recipe.attn_implementation}

    def trainer(self, kind: type[Trainer], model: PreTrainedModel | str, **options: Any) -> Any:
        """A trainer of TRL's with the recipe's arguments and LoRA; `options` are its own.

        What the result is scored on at the end is proven first.
        """
        run = self._run
        run.ranks.once("the problems to score on, and the ends of turns", self._prove)
        made = kind(
            model=model,
            args=self._run.args,
            processing_class=self.tokenizer,
            peft_config=adapters.configuration(run.model_config, run.recipe.values),
            **options,
        )
        stop_where_turns_end(made, self.tokenizer)
        return made

    def _prove(self) -> None:
        run = self._run
        held_out.prove(run.pull, run.keys, self.tokenizer)
        adapters.check_names(run.model_config, run.recipe.values, self.folder)
        config = AutoConfig.from_pretrained(self.folder).get_text_config()
        if run.keys.problems_name:
            rollouts.prove(config)
        end = template.ends(self.tokenizer, GenerationConfig())[0]
        if end >= config.vocab_size:
            raise RecipeError(
                f"`model_name_or_path`: its chat template ends turns with the token {end} "
                f"({self.tokenizer.decode(end)}), and the model has {config.vocab_size:,}: save it "
                "with more (`resize_token_embeddings`), or give SFT another `chat_template`"
            )

    def train(self, trainer: Trainer, sequence_length: int | None = None) -> dict[str, Any]:
        """Trains to the end, from the last checkpoint if there is one; the manifest's facts."""
        return checkpoints.train(self._run, trainer, sequence_length)

    def push(
        self,
        facts: dict[str, Any],
        summary: str,
        metrics: dict[str, float] | None = None,
        **left_out: Dataset,
    ) -> None:
        """Scores the model on held-out problems, and pushes it with the stage's facts, on rank 0.

        `metrics` are those of the stage itself. Each further argument is a list of rows that were
        not trained on; it is saved beside the model as NAME.parquet. So are the evaluation items
        in the rows that `excluded` was asked for, as contaminated.parquet, and held-out problems
        that cannot be used, as problems_left_out.parquet.
        """
        run = self._run
        if not run.is_main:
            return
        if self._overlap:
            row_name, found = self._overlap
            left_out["contaminated"] = found.listed(row_name)
            facts["contamination"] = found.report
        left_out |= held_out.left_out(run.pull, run.keys, self.tokenizer)
        for name, rows in left_out.items():
            rows.to_parquet(run.folder / f"{name}.parquet")
        scored = held_out.held_out(run.folder, run.pull, run.keys)
        scored["metrics"] |= metrics or {}
        facts |= scored | {"summary": f"{summary} (`{run.recipe.name}`)."}
        run.finish({"hub_model_id": (run.folder, facts)})


def stop_where_turns_end(trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Names the end of a turn in the generation config of a trainer's model, which is saved.

    GRPO's samples end there, too. What already names it stays as it is.
    """
    peft = isinstance(trainer.model, PeftModel)
    config = (trainer.model.get_base_model() if peft else trainer.model).generation_config
    ends = template.ends(tokenizer, config)
    named = config.eos_token_id
    if set(ends) != set(named if isinstance(named, list) else [named]):
        config.eos_token_id = ends
    if isinstance(trainer, GRPOTrainer) and set(trainer.eos_token_ids) != set(ends):
        trainer.eos_token_ids = ends
        trainer.generation_config.eos_token_id = ends

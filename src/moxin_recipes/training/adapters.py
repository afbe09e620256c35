"""LoRA: adapters name their base on the Hub, and a stage's result is the merged model."""

from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, Trainer

from moxin_recipes.hub.pull import Parent
from moxin_recipes.models import published


def name_base(trainer: Trainer, base: Parent) -> None:
    """Sets the adapter's base to a commit of the Hub, so that checkpoints load on any machine."""
    if isinstance(trainer.model, PeftModel):
        for config in trainer.model.peft_config.values():
            config.base_model_name_or_path, config.revision = base.repo, base.commit


def merge(trainer: Trainer, folder: Path, start: Path) -> None:
    """Replaces the adapter in `folder` by the merged model, on one process.

    The weights of `start` are read again, so the trainer's sharding does not matter. The next stage
    loads the result like any other model.
    """
    if not isinstance(trainer.model, PeftModel):
        return
    tuned = trainer.model.get_base_model()
    base_model = AutoModelForCausalLM.from_pretrained(
        start,
        config=tuned.config,  # with the recipe's changes
        dtype=trainer.model.dtype,
    )
    base_model.generation_config = tuned.generation_config  # which ends where the chat ends
    merged = PeftModel.from_pretrained(base_model, folder).merge_and_unload()
    published.save(merged, folder)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).unlink()

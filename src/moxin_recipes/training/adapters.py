"""LoRA: an adapter names its base on the Hub; a stage's result is the merged, whole model."""

from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, Trainer

from moxin_recipes.hub.pull import Parent


def name_base(trainer: Trainer, base: Parent) -> None:
    """Checkpoints of a LoRA run shall load anywhere: their base is a commit, not a local path."""
    if isinstance(trainer.model, PeftModel):
        for config in trainer.model.peft_config.values():
            config.base_model_name_or_path, config.revision = base.repo, base.commit


def merge(trainer: Trainer, folder: Path, start: Path) -> None:
    """Replaces the adapter that was saved to `folder` by the whole model, on one process.

    The weights of `start` are read anew, so that it makes no odds how the trainer had sharded them.
    The next stage loads the result like any other model.
    """
    if not isinstance(trainer.model, PeftModel):
        return
    whole = AutoModelForCausalLM.from_pretrained(
        start,
        config=trainer.model.get_base_model().config,  # what the recipe changed of it too
        dtype=trainer.model.dtype,
    )
    merged = PeftModel.from_pretrained(whole, folder).merge_and_unload()
    merged.save_pretrained(folder)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).unlink()

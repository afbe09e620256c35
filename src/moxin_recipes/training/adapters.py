"""LoRA: adapters name their base on the Hub, and a stage's result is the merged model."""

import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForCausalLM, Trainer

from moxin_recipes.hub.files import write_json
from moxin_recipes.hub.pull import Parent
from moxin_recipes.models import published


def name_base(checkpoint: Path, base: Parent) -> None:
    """Writes the base's commit on the Hub into a saved adapter, which then loads on any machine.

    While it trains, an adapter names its base's folder: PEFT looks at the base at each save, and on
    the Hub it would do so on each rank, amid a collective.
    """
    path = checkpoint / "adapter_config.json"
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        write_json(path, config | {"base_model_name_or_path": base.repo, "revision": base.commit})


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

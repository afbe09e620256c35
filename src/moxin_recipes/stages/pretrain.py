"""One phase of pretraining on packed tokens (paper §3.4: 2k, 4k, capability enhancement).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.pretrain --config recipes/moxin-nano/20-pretrain-2k.yaml

Needs: the tag of the phase before, and tokens. Pushes: the base model, and a branch
`PHASE-step-000100` for each checkpoint.
"""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from moxin_recipes import environment
from moxin_recipes.hub.pull import read_manifest
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out
from moxin_recipes.tokens.cache import GB, HubTokens
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.training import optimizers
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.progress import watch
from moxin_recipes.training.trainers import PretrainTrainer


def main(run: Run) -> None:
    """Pull, build, train, measure, push."""
    own: PretrainKeys = run.arguments
    args: TrainingArguments = run.trainer_arguments[0]
    start = run.pull("model_name_or_path")
    tokens = run.pull("dataset_name", ["*/heldout*"])
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForCausalLM.from_pretrained(
        start, dtype="float32", attn_implementation=own.attn_implementation
    )
    cache = Path(own.token_cache_dir or environment.home() / "token-cache")
    shards = HubTokens(run.parent("dataset_name"), cache, own.token_cache_gb * GB)
    order = Order.of(own, shards.shards)
    mixture = Mixture(shards, order, args.max_steps * own.global_batch_size, tokenizer.bos_token_id)
    trainer = PretrainTrainer(
        model=model,
        args=args,
        train_dataset=mixture,
        processing_class=tokenizer,
        z_loss=own.z_loss,
        max_skipped_steps=own.max_skipped_steps,
        optimizer_cls_and_kwargs=optimizers.chosen(own, args, model),
    )
    watch(run, trainer, own.context_length)
    facts = train(run, trainer)
    if run.is_main:
        facts["tokens"] = len(mixture) * own.context_length
        facts["counts"] = mixture.facts() | {"steps passed over": len(trainer.guard.skipped)}
        facts["metrics"] = held_out.bits_per_byte(run.folder, tokens, own.eval_context_length)
        facts["contamination"] = contamination(run, own)
        facts["summary"] = (
            f"Base model after `{run.recipe.name}`: {facts['tokens']:,} tokens in sequences of "
            f"{own.context_length}."
        )
        run.finish({"hub_model_id": (run.folder, facts)})


def contamination(run: Run, own: PretrainKeys) -> list[dict[str, Any]]:
    """The rows of the tokens' report that are about the sources of this phase."""
    parent = run.parent("dataset_name")
    manifest = read_manifest(parent.repo, parent.type, parent.commit) or {}
    sources = {item.source for item in own.mixture}
    return [row for row in manifest.get("contamination", []) if row["source"] in sources]


if __name__ == "__main__":
    launch(main)

"""One phase of pretraining on packed tokens (paper §3.4: 2k, 4k, capability enhancement).

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.pretrain \
      --config recipes/moxin-nano/20-pretrain-2k.yaml

Needs: the tag of the phase before, and tokens. Pushes: the base model, and a branch
`PHASE-step-000100` for each checkpoint.
"""

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

from moxin_recipes import environment
from moxin_recipes.hub.pull import read_manifest
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out_text
from moxin_recipes.tokens.cache import GB, HubTokens
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Order
from moxin_recipes.tokens.vocabulary import check_form
from moxin_recipes.training import optimizers
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.trainers import PretrainTrainer


def main(run: Run[PretrainKeys, TrainingArguments]) -> None:
    """Mixes shards of tokens in a fixed order, trains on them, measures bits per byte."""
    keys = run.keys
    folder = run.pull("model_name_or_path")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = run.ranks.once("what is said of the tokens", lambda: said_of_tokens(run))
    vocabulary = AutoConfig.from_pretrained(folder).vocab_size
    mixture = mixed(run, check_form(said, tokenizer, vocabulary))
    # What the end needs comes first: the end may be weeks away.
    heldout = run.pull("dataset_name", ["*/heldout*"])
    run.ranks.once("the held-out text", lambda: prove_held_out(heldout, tokenizer, keys))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="float32", attn_implementation=keys.attn_implementation
    )
    trainer = PretrainTrainer(
        model=model,
        args=run.args,
        train_dataset=mixture,
        processing_class=tokenizer,
        z_loss=keys.z_loss,
        max_skipped_steps=keys.max_skipped_steps,
        selective_checkpointing=keys.selective_checkpointing,
        optimizer_cls_and_kwargs=optimizers.class_and_options(keys, run.args, model),
    )
    facts = train(run, trainer, keys.context_length)
    if run.is_main:
        tokens = len(mixture) * keys.context_length
        facts |= {
            "tokens": tokens,
            "counts": mixture.facts() | {"steps passed over": len(trainer.guard.skipped)},
            "metrics": held_out_text.bits_per_byte(run.folder, heldout, keys.eval_context_length),
            "example": held_out_text.beginning(
                heldout, tokenizer, {item.source: item.weight for item in keys.mixture}
            ),
            "contamination": said["contamination"],
            "summary": f"Base model after `{run.recipe.name}`: {tokens:,} tokens in sequences of "
            f"{keys.context_length}.",
        }
        run.finish({"hub_model_id": (run.folder, facts)})


def mixed(run: Run[PretrainKeys, TrainingArguments], framing: Framing) -> Mixture:
    """All sequences of the phase in their order; shards are fetched when they are due."""
    keys = run.keys
    cache = Path(keys.token_cache_dir or environment.home() / "token-cache")
    parent = run.parent("dataset_name")
    with run.ranks.in_turn("the list of shards"):
        shards = HubTokens(parent, cache, keys.token_cache_gb * GB)
    order = Order.from_keys(keys, shards.shards)
    sequences = run.args.max_steps * keys.global_batch_size
    return Mixture(shards, order, sequences, framing)


def prove_held_out(folder: Path, tokenizer: PreTrainedTokenizerBase, keys: PretrainKeys) -> None:
    """RecipeError unless there is text to measure bits per byte on."""
    held_out_text.held_out_tokens(folder, tokenizer, keys.eval_context_length)


def said_of_tokens(run: Run[PretrainKeys, TrainingArguments]) -> dict[str, Any]:
    """The form of the tokens, by their manifest, and what was found in this phase's sources."""
    parent = run.parent("dataset_name")
    manifest = read_manifest(parent.repo, parent.type, parent.commit) or {}
    sources = {item.source for item in run.keys.mixture}
    rows = [row for row in manifest.get("contamination", []) if row["source"] in sources]
    return {"form": manifest.get("form"), "contamination": rows}


if __name__ == "__main__":
    launch(main, PretrainKeys)

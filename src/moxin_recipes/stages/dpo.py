"""Direct preference optimisation, length-normalised (paper §4: Tülu 3's `dpo_norm`, β = 5).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.dpo --config recipes/moxin-nano/31-dpo.yaml

Needs: the SFT model, which is the reference too, and pairs (`chosen`, `rejected`, and `prompt`
where these do not begin with it). Pushes: the Instruct model. Pairs that cannot be used are listed
in `left_out.parquet` beside it, those of the test split in `left_out_test.parquet`.
"""

from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, ModelConfig, get_peft_config

from moxin_recipes.chats.pairs import Pairs
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.keys.dpo import DpoKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.progress import watch

COLUMNS = ["chosen", "rejected"]


def main(run: Run) -> None:
    """Pull, build, train, measure, push."""
    own: DpoKeys = run.arguments
    model_config: ModelConfig = run.trainer_arguments[0]
    args: DPOConfig = run.trainer_arguments[1]
    args.include_num_input_tokens_seen = "non_padding"  # kept in checkpoints; TRL's count is not
    start = run.pull("model_name_or_path")
    tokenizer = AutoTokenizer.from_pretrained(start)
    folder, key = run.pull("dataset_name"), "dataset_name"

    def pairs_of(split: str) -> Pairs:
        pairs = load_split(folder, own.dataset_config, split, COLUMNS, key)
        with args.main_process_first(local=True, desc="reading pairs"):
            return Pairs(pairs, tokenizer, run.state / "pairs" / split, key)

    pairs = pairs_of(own.dataset_train_split)
    tests = pairs_of(own.dataset_test_split) if own.dataset_test_split else None
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            start, dtype=model_config.dtype, attn_implementation=model_config.attn_implementation
        ),
        args=args,
        train_dataset=pairs.usable(),
        eval_dataset=tests.usable() if tests else None,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_config),
    )
    trainer.train_dataset = pairs.full_batches(
        trainer.train_dataset, own.global_batch_size, args.max_length
    )
    watch(run, trainer)
    facts = train(run, trainer)
    preferences = trainer.evaluate() if tests else {}
    if run.is_main:
        facts["counts"] = pairs.counts
        pairs.left_out().to_parquet(run.folder / "left_out.parquet")
        if tests:
            facts["counts"] |= {f"test {name}": count for name, count in tests.counts.items()}
            tests.left_out().to_parquet(run.folder / "left_out_test.parquet")
        facts["tokens"] = trainer.state.num_input_tokens_seen
        facts["summary"] = f"Tuned on the preferences {own.dataset_name} (`{run.recipe.name}`)."
        facts |= held_out.held_out(run.folder, run.pull, own)
        if preferences:
            accuracy = preferences["eval_rewards/accuracies"]
            count = len(trainer.eval_dataset)
            facts["metrics"]["preference_accuracy"] = round(accuracy, 4)
            error = (accuracy * (1 - accuracy) / count) ** 0.5
            facts["metrics"]["preference_accuracy_stderr"] = round(error, 4)
        run.finish({"hub_model_id": (run.folder, facts)})


if __name__ == "__main__":
    launch(main)

"""Direct preference optimisation, length-normalised (paper §4: Tülu 3's `dpo_norm`, β = 5).

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.dpo \
      --config recipes/moxin-nano/31-dpo.yaml

Needs: the SFT model, which is the reference too, and pairs (`chosen`, `rejected`, and `prompt`
where these do not begin with it). Pushes: the Instruct model. Pairs that cannot be used, or hold an
item of the evaluation sets (`decontaminate`), are listed in `left_out.parquet` beside it, those of
the test split in `left_out_test.parquet`.
"""

import functools

from trl import DPOConfig, DPOTrainer
from trl.trainer import dpo_trainer

from moxin_recipes.chats import template
from moxin_recipes.chats.pairs import Pairs
from moxin_recipes.chats.preferences import Preferences
from moxin_recipes.recipe.keys.dpo import DpoKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.training.post_training import PostTraining


def main(run: Run[DpoKeys, DPOConfig]) -> None:
    """Reads pairs, trains on those of one split, scores those of the other."""
    # This count is kept in checkpoints; TRL's own is not.
    run.args.include_num_input_tokens_seen = "non_padding"
    dpo = PostTraining(run)
    template.settle(dpo.tokenizer, "model_name_or_path")
    template.check_learnable(dpo.tokenizer, "model_name_or_path", pairs=True)
    pairs = read_pairs(run, dpo, run.keys.dataset_train_split)
    test_split = run.keys.dataset_test_split
    tests = read_pairs(run, dpo, test_split) if test_split else None
    # TRL would let the others wait in a barrier, which has a limit, while one process tokenizes.
    turn = functools.partial(run.ranks.in_turn, "the tokens of the pairs")
    vars(dpo_trainer)["global_then_local_main_first"] = turn
    trainer = dpo.trainer(
        DPOTrainer,
        dpo.model(),
        train_dataset=pairs.usable(),
        eval_dataset=tests.usable() if tests else None,
    )
    trainer.train_dataset = pairs.full_batches(
        trainer.train_dataset, run.keys.global_batch_size, run.args.max_length
    )
    if tests and not len(trainer.eval_dataset):
        raise RecipeError(
            f"`max_length`: {run.args.max_length} tokens, and every prompt of `dataset_test_split` "
            "is longer; nothing would be left to score on"
        )
    for read in (pairs, tests) if run.is_main else ():
        if read:
            read.warn()
    facts = dpo.train(trainer)
    metrics = preference_accuracy(trainer) if tests else {}
    facts["tokens"] = trainer.state.num_input_tokens_seen
    facts["counts"] = dict(pairs.counts)
    left_out = {"left_out": pairs.left_out()}
    if tests:
        facts["counts"] |= {f"test {name}": count for name, count in tests.counts.items()}
        left_out["left_out_test"] = tests.left_out()
    dpo.push(facts, f"Tuned on the preferences {run.keys.dataset_name}", metrics, **left_out)


def read_pairs(run: Run[DpoKeys, DPOConfig], tuning: PostTraining, split: str) -> Pairs:
    """The pairs of a split, read once by one process of a machine.

    Those to train on hold no evaluation item; those that are only scored stay as they are.
    """
    keys = run.keys
    template.check_system(tuning.tokenizer, keys.system_prompt)
    pairs = tuning.rows([keys.chosen_column, keys.rejected_column], split)
    columns = (keys.prompt_column, keys.chosen_column, keys.rejected_column)
    layout = Preferences(*columns, keys.system_prompt, keys.prompt_suffix)
    trained_on = split == run.keys.dataset_train_split
    excluded = tuning.excluded(pairs, "pair") if trained_on else ()
    with run.ranks.in_turn(f"the pairs of {split}"):
        folder = run.state / "pairs" / split
        return Pairs(pairs, tuning.tokenizer, folder, "dataset_name", layout, excluded)


def preference_accuracy(trainer: DPOTrainer) -> dict[str, float]:
    """Share of test pairs whose chosen answer has the higher reward, with its standard error."""
    accuracy = trainer.evaluate()["eval_rewards/accuracies"]
    error = (accuracy * (1 - accuracy) / len(trainer.eval_dataset)) ** 0.5
    return {
        "preference_accuracy": round(accuracy, 4),
        "preference_accuracy_stderr": round(error, 4),
    }


if __name__ == "__main__":
    launch(main, DpoKeys)

"""Supervised fine-tuning on chats (paper §4: Tülu 3's SFT; and chain-of-thought SFT).

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.sft \
      --config recipes/moxin-nano/30-sft.yaml

Needs: a model, chats (docs/chats.md: the layouts), problems to score on. Pushes: the tuned model.
Only what the assistant says is learned; chats are packed whole, without seeing each other, in an
order that is a function of the seed. Those that cannot be used, or hold an item of the evaluation
sets (`decontaminate`), are listed in `left_out.parquet` beside the model.

The loss is the mean over the answer tokens of the global batch. Tülu 3 sums instead: its gradient
is ours times the number of those tokens. AdamW's step does not change with that factor (tests:
parity), but a limit on the gradient's norm means something else, and where the number of tokens
varies from step to step, a sum gives the fuller steps more say in AdamW's averages.
"""

import itertools
import logging

from transformers import AutoConfig, PretrainedConfig
from trl import SFTConfig

from moxin_recipes.chats import template
from moxin_recipes.chats.layouts import layout_of
from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.training.post_training import PostTraining
from moxin_recipes.training.trainers import PackedSFTTrainer

log = logging.getLogger(__name__)


def main(run: Run[SftKeys, SFTConfig]) -> None:
    """Encodes and packs chats, trains on them."""
    tuning = PostTraining(run)
    template.prepare_tokenizer(tuning.tokenizer, run.keys.chat_template, run.keys.pad_token)
    length = run.args.max_length
    config = stretched(AutoConfig.from_pretrained(tuning.folder), run.keys)
    rows = packed_chats(run, tuning)
    run.args.num_train_epochs = 1  # the rows are those of all epochs, in order
    data = rows.as_dataset()
    trainer = tuning.trainer(PackedSFTTrainer, tuning.model(config), train_dataset=data)
    facts = tuning.train(trainer, length)
    facts["counts"] = rows.counts
    rows_read = trainer.state.global_step * run.keys.global_batch_size
    facts["tokens"] = int(rows.tokens[:rows_read].sum())
    tuning.push(facts, f"Fine-tuned on {run.keys.dataset_name}", left_out=rows.left_out())


def packed_chats(run: Run[SftKeys, SFTConfig], tuning: PostTraining) -> PackedRows:
    """The recipe's chats: encoded once, by one process of a machine, and packed."""
    args, tokenizer = run.args, tuning.tokenizer
    keys = run.keys
    template.check_system(tokenizer, keys.system_prompt)
    chats = tuning.rows([])
    layout = layout_of(
        chats.column_names, keys.messages_column, keys.system_prompt, keys.prompt_suffix
    )
    if run.is_main:
        log.info("`dataset_name`: %s", layout)
        if further := layout.further(itertools.islice(chats, 100)):
            log.info("further fields of turns only go to the template: %s", ", ".join(further))
    excluded = tuning.excluded(chats, "chat")
    with run.ranks.in_turn("the encoded chats"):
        folder, processes = run.state / "chats", args.dataset_num_proc
        encoded = encode_chats(
            chats, tokenizer, args.max_length, folder, processes, excluded, layout
        )
    rows = PackedRows(
        encoded,
        args.max_length,
        args.num_train_epochs,
        keys.seed,
        keys.global_batch_size,
        tokenizer.pad_token_id,
    )
    if run.is_main:
        rows.warn(chats)
    return rows


def stretched(config: PretrainedConfig, keys: SftKeys) -> PretrainedConfig:
    """The model's config with the recipe's `rope_theta` and `sliding_window`, for longer chats."""
    if keys.rope_theta is not None:
        config.rope_parameters = {**config.rope_parameters, "rope_theta": keys.rope_theta}
    if keys.sliding_window is not None:
        config.sliding_window = keys.sliding_window or None
    return config


if __name__ == "__main__":
    launch(main, SftKeys)

"""Supervised fine-tuning on chats (paper §4: Tülu 3's SFT; and chain-of-thought SFT).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.sft --config recipes/moxin-nano/30-sft.yaml

Needs: a model, chats (`messages`), problems to score on. Pushes: the tuned model. Only what the
assistant says is learned; chats are packed whole, without seeing each other, in an order that is a
function of the seed. Those that cannot be used are listed in `left_out.parquet` beside the model.

The loss is the mean over the answer tokens of the global batch. Tülu 3 sums instead: its gradient
is ours times the number of those tokens. AdamW's step does not change with that factor (tests:
parity), but a limit on the gradient's norm means something else, and where the number of tokens
varies from step to step, a sum gives the fuller steps more say in AdamW's averages.
"""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)
from trl import ModelConfig, SFTConfig, get_peft_config

from moxin_recipes.chats import template
from moxin_recipes.chats.pack import PackedRows, encode_chats
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.progress import watch
from moxin_recipes.training.trainers import PackedSFTTrainer


def main(run: Run) -> None:
    """Pull, build, train, measure, push."""
    own: SftKeys = run.arguments
    model_config: ModelConfig = run.trainer_arguments[0]
    args: SFTConfig = run.trainer_arguments[1]
    start = run.pull("model_name_or_path")
    tokenizer = AutoTokenizer.from_pretrained(start)
    template.prepare_tokenizer(tokenizer, own.chat_template, own.pad_token)
    config = stretched(AutoConfig.from_pretrained(start), own, args.max_length)
    rows = packed_chats(run, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(
        start,
        config=config,
        dtype=model_config.dtype,
        attn_implementation=model_config.attn_implementation,
    )
    args.num_train_epochs = 1  # the rows are those of all epochs, in order
    trainer = PackedSFTTrainer(
        model=model,
        args=args,
        train_dataset=rows.as_dataset(),
        processing_class=tokenizer,
        peft_config=get_peft_config(model_config),
    )
    watch(run, trainer, args.max_length)
    facts = train(run, trainer)
    if run.is_main:
        facts["counts"] = rows.counts
        rows.left_out().to_parquet(run.folder / "left_out.parquet")
        facts["tokens"] = int(
            rows.tokens[: trainer.state.global_step * own.global_batch_size].sum()
        )
        facts["summary"] = f"Fine-tuned on {own.dataset_name} (`{run.recipe.name}`)."
        facts |= held_out.held_out(run.folder, run.pull, own)
        run.finish({"hub_model_id": (run.folder, facts)})


def packed_chats(run: Run, tokenizer: PreTrainedTokenizerBase) -> PackedRows:
    """The recipe's chats: encoded once, by one process of a machine, and packed."""
    own: SftKeys = run.arguments
    args: SFTConfig = run.trainer_arguments[1]
    chats = load_split(
        run.pull("dataset_name"),
        own.dataset_config,
        own.dataset_train_split,
        ["messages|conversations"],
        "dataset_name",
    )
    with args.main_process_first(local=True, desc="encoding chats"):
        encoded = encode_chats(
            chats, tokenizer, args.max_length, run.state / "chats", args.dataset_num_proc
        )
    return PackedRows(
        encoded,
        args.max_length,
        args.num_train_epochs,
        own.seed,
        own.global_batch_size,
        tokenizer.pad_token_id,
    )


def stretched(config: PretrainedConfig, own: SftKeys, length: int) -> PretrainedConfig:
    """The model's config with the recipe's `rope_theta` and `sliding_window`, for longer chats."""
    if length > config.max_position_embeddings:
        raise RecipeError(
            f"`max_length`: {length}; the model has {config.max_position_embeddings} positions"
        )
    if own.rope_theta is not None:
        config.rope_parameters = {**config.rope_parameters, "rope_theta": own.rope_theta}
    if own.sliding_window is not None:
        config.sliding_window = own.sliding_window or None
    return config


if __name__ == "__main__":
    launch(main)

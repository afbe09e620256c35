"""Supervised fine-tuning on chats (paper §4: Tülu 3's SFT; and chain-of-thought SFT).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.sft --config recipes/moxin-nano/30-sft.yaml

Needs: a model, chats (`messages`), problems to score on. Pushes: the tuned model. Only what the
assistant says is learned; chats are packed into rows without seeing each other.
"""

from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig, SFTConfig, get_peft_config

from moxin_recipes.arguments import SftArguments
from moxin_recipes.data import chat
from moxin_recipes.run import Run, launch
from moxin_recipes.training import measure
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.trainers import PackedSFTTrainer


def main(run: Run) -> None:
    """Pull, build, train, measure, push."""
    own: SftArguments = run.arguments
    model_config: ModelConfig = run.trainer_arguments[0]
    args: SFTConfig = run.trainer_arguments[1]
    start = run.pull("model_name_or_path")
    chats = chat.load_split(
        run.pull("dataset_name"),
        own.dataset_config,
        own.dataset_train_split,
        ["messages"],
        "dataset_name",
    )
    tokenizer = AutoTokenizer.from_pretrained(start)
    chat.prepare_tokenizer(tokenizer, own.chat_template, own.pad_token)
    model = AutoModelForCausalLM.from_pretrained(
        start, dtype=model_config.dtype, attn_implementation=model_config.attn_implementation
    )
    rows, left_out = chat.packed_rows(
        chats, tokenizer, args.max_length, args.num_train_epochs, own.seed, own.global_batch_size
    )
    args.num_train_epochs = 1  # the rows are those of all epochs, in order
    trainer = PackedSFTTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_config),
    )
    facts = train(run, trainer)
    if run.is_main:
        facts["counts"] = {"chats": len(chats), "left out (too long or no answer)": len(left_out)}
        facts["tokens"] = sum(rows["tokens"])
        facts["summary"] = f"Fine-tuned on {own.dataset_name} (`{run.recipe.name}`)."
        facts |= measure.held_out(run, own)
        run.finish({"hub_model_id": (run.folder, facts)})


if __name__ == "__main__":
    launch(main)

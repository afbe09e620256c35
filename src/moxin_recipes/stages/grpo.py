"""Group-relative policy optimisation on verifiable rewards (paper §4, after DeepScaleR).

    accelerate launch --config_file accelerate_configs/cpu.yaml \
      -m moxin_recipes.stages.grpo --config recipes/moxin-nano/42-grpo.yaml

Needs: the CoT model, problems (`problem`, `answer`). It starts only where the rewards tell right
from wrong, the model can end, and some group of completions gives a signal. Pushes: the Reasoning
model.
"""

import logging

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from trl import GRPOConfig, ModelConfig, get_peft_config

from moxin_recipes import rewards
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.keys.grpo import GrpoKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import known_answers, preflight
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import held_out
from moxin_recipes.training.checkpoints import train
from moxin_recipes.training.progress import watch

log = logging.getLogger(__name__)


def main(run: Run) -> None:
    """Pull, build, train, measure, push."""
    own: GrpoKeys = run.arguments
    model_config: ModelConfig = run.trainer_arguments[0]
    args: GRPOConfig = run.trainer_arguments[1]
    preflight.check_saves(args)
    start = run.pull("model_name_or_path")
    tokenizer = AutoTokenizer.from_pretrained(start)
    problems = load_split(
        run.pull("dataset_name"),
        own.dataset_config,
        own.dataset_train_split,
        ["problem", "answer"],
        "dataset_name",
    )
    if run.is_main:
        known_answers.check_rewards(own.rewards, problems["answer"])
        preflight.check_ending(start, tokenizer, own.rewards)
    solvable = with_a_signal(run, problems)
    prompts = as_prompts(solvable, tokenizer, own.max_prompt_length, own.prompt_suffix)
    args.model_init_kwargs = {
        "dtype": model_config.dtype,
        "attn_implementation": model_config.attn_implementation,
    }
    probe = preflight.Probe(prompts)
    trainer = CpuGRPOTrainer(
        model=str(start),  # by name: the reference model is loaded from there too
        reward_funcs=[rewards.for_trl(name) for name in own.rewards],
        args=args,
        train_dataset=prompts,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_config),
        callbacks=[probe],
    )
    probe.trainer = trainer
    if trainer.accelerator.device.type == "cpu" and args.gradient_checkpointing:
        log.warning("`gradient_checkpointing: false` makes a step on a CPU twice as fast")
    watch(run, trainer)
    facts = train(run, trainer)
    if run.is_main:
        facts["counts"] = {
            "problems": len(problems),
            "left out (pass rate)": len(problems) - len(solvable),
            "left out (prompt too long)": len(solvable) - len(prompts),
        }
        facts["summary"] = f"Reinforced on verifiable rewards (`{run.recipe.name}`)."
        facts |= held_out.held_out(run.folder, run.pull, own)
        facts["metrics"] |= last_reward(facts["log"])
        run.finish({"hub_model_id": (run.folder, facts)})


def last_reward(log: list[dict[str, float]]) -> dict[str, float]:
    """The mean reward of the last ten rows of the log; none where no step was logged."""
    rewarded = [row["reward"] for row in log if "reward" in row][-10:]
    return {"reward": round(sum(rewarded) / len(rewarded), 4)} if rewarded else {}


def with_a_signal(run: Run, problems: Dataset) -> Dataset:
    """The problems whose pass rate lies in the recipe's range; those without one stay."""
    own: GrpoKeys = run.arguments
    if own.pass_rates_name is None:
        return problems
    folder = run.pull("pass_rates_name")
    columns = ["problem", "pass_rate"]
    rates = load_split(folder, "pass_rates", "train", columns, "pass_rates_name")
    known = dict(zip(rates["problem"], rates["pass_rate"], strict=True))
    unknown = (own.min_pass_rate + own.max_pass_rate) / 2
    chosen = [
        index
        for index, problem in enumerate(problems["problem"])
        if own.min_pass_rate <= known.get(problem, unknown) <= own.max_pass_rate
    ]
    if not chosen:
        raise RecipeError("`min_pass_rate`, `max_pass_rate`: no problem lies between them")
    return problems.select(chosen)


def as_prompts(
    problems: Dataset, tokenizer: PreTrainedTokenizerBase, longest: int, suffix: str = ""
) -> Dataset:
    """Rows of `prompt` (one user turn) and `answer`, without prompts of over `longest` tokens."""
    rows = []
    for row in problems:
        prompt = [{"role": "user", "content": row["problem"] + suffix}]
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)
        if len(ids["input_ids"]) <= longest:
            rows.append({"prompt": prompt, "answer": row["answer"]})
    if not rows:
        raise RecipeError(f"`max_prompt_length`: no prompt has at most {longest} tokens")
    return Dataset.from_list(rows)


if __name__ == "__main__":
    launch(main)

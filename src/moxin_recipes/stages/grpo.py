"""Group-relative policy optimisation on verifiable rewards (paper §4, after DeepScaleR).

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.grpo \
      --config recipes/moxin-nano/42-grpo.yaml

Needs: the CoT model, problems (`problem`, `answer`). It starts only where the rewards tell right
from wrong, the model can end, and some group of completions gives a signal. Problems that hold an
item of the evaluation sets (`decontaminate`) are left out. Pushes: the Reasoning model.
"""

import functools
import logging

from trl import GRPOConfig

from moxin_recipes import rewards
from moxin_recipes.chats import template
from moxin_recipes.cpu.grpo import CpuGRPOTrainer
from moxin_recipes.problems import prompts
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe.keys.grpo import GrpoKeys
from moxin_recipes.rewards import known_answers, preflight
from moxin_recipes.run import Run, launch
from moxin_recipes.training.post_training import PostTraining

log = logging.getLogger(__name__)


def main(run: Run[GrpoKeys, GRPOConfig]) -> None:
    """Chooses problems, looks before it starts, reinforces."""
    keys = run.keys
    model = PostTraining(run)
    template.settle(model.tokenizer, "model_name_or_path")
    rows = model.rows([keys.problem_column, keys.answer_column])
    names = (keys.problem_column, keys.answer_column)
    problems = Problems(rows, names, "dataset_name", is_tests="code" in keys.rewards)
    opened = template.opened(model.tokenizer, run.args.chat_template_kwargs)
    tried = functools.partial(known_answers.try_answers, keys.rewards, problems)
    problems.leave_out(run.ranks.once("the trial of the answers", tried))
    run.ranks.once("the test of the rewards", lambda: test_rewards(run, model, problems))
    problems.leave_out(model.excluded(rows, "problem"))
    rates = run.pull("pass_rates_name") if keys.pass_rates_name else None
    least, most = keys.min_pass_rate, keys.max_pass_rate
    without = prompts.keep_with_a_signal(problems, rates, least, most)
    asked = prompts.as_prompts(
        *(problems, model.tokenizer, keys.max_prompt_length, keys.prompt_suffix),
        *(keys.system_prompt, run.args.chat_template_kwargs),
    )
    if run.is_main:
        problems.warn()
        if without:
            log.warning("%s", without)
    run.args.model_init_kwargs = model.load_options()
    probe = preflight.Probe(asked)
    trainer = model.trainer(
        CpuGRPOTrainer,
        str(model.folder),  # by name: the reference model is loaded from there too
        reward_funcs=[rewards.for_trl(name, opened) for name in keys.rewards],
        train_dataset=asked,
        callbacks=[probe],
    )
    probe.trainer = trainer
    if trainer.accelerator.device.type == "cpu" and run.args.gradient_checkpointing:
        log.warning("`gradient_checkpointing: false` makes a step on a CPU twice as fast")
    facts = model.train(trainer)
    facts["counts"] = problems.counts
    reward = last_reward(facts["log"])
    model.push(facts, "Reinforced on verifiable rewards", reward, left_out=problems.left_out())


def test_rewards(run: Run[GrpoKeys, GRPOConfig], model: PostTraining, problems: Problems) -> None:
    """RecipeError unless the rewards tell right from wrong, see all marks, and samples can end."""
    keys, rows = run.keys, problems.usable()
    beside = prompts.columns_of(rows[0], keys.system_prompt, keys.prompt_suffix)
    of_trainer = preflight.of_trainer(model.tokenizer, run.args.max_steps)
    known_answers.check_rewards(keys.rewards, rows["answer"], beside, of_trainer)
    preflight.check_marks(model.tokenizer, run.keys.rewards)
    if run.args.use_vllm:
        preflight.check_files_end(model.folder, model.tokenizer)


def last_reward(log: list[dict[str, float]]) -> dict[str, float]:
    """The mean reward of the last ten rows of the log; none where no step was logged."""
    rewarded = [row["reward"] for row in log if "reward" in row][-10:]
    return {"reward": round(sum(rewarded) / len(rewarded), 4)} if rewarded else {}


if __name__ == "__main__":
    launch(main, GrpoKeys)

"""A teacher's worked solutions, kept only where a verifier agrees (paper §4: R1-distilled data).

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.distill \
      --config recipes/moxin-nano/40-distill.yaml

Needs: problems with answers, or recorded traces. Pushes: chats with `<think>…</think>` and a boxed
answer (`kept`); what the verifier refused, with the reason (`rejected`); how often each problem was
solved (`pass_rates`). An answer that was paid for is on disk before the next one is awaited: in
`samples-….jsonl` of `output_dir`, where it stays and is used again while the same is asked.
"""

import logging
from collections.abc import Iterator

from datasets import Dataset

from moxin_recipes import rewards
from moxin_recipes.hub.files import clear
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import known_answers
from moxin_recipes.run import Run, launch
from moxin_recipes.teachers import ask, endpoint, traces, verified
from moxin_recipes.teachers.answers import Answer, Answers, file_name

log = logging.getLogger(__name__)


def main(run: Run[DistillKeys, None]) -> None:
    """Ask, verify, keep, push."""
    own = run.keys
    rewards.check(own.rewards)
    problems, counts = recorded(run) if own.teacher == "recorded" else asked(run)
    if own.teacher == "recorded":
        answers = verified.from_traces(problems, own)
    elif own.teacher == "program":
        answers = verified.from_program(problems, own)
    else:
        known_answers.check_rewards(own.rewards, problems["answer"])  # before anything is paid for
        answers = collected(run, problems)
    folder = clear(run.folder / "hub_dataset_id")
    tally = verified.write(folder, problems, answers, own.rewards)
    if not tally.kept:
        raise RecipeError(
            f"`teacher`: no solution was accepted; {dict(tally.reasons)}. What it said is in "
            f"{folder / 'rejected'}"
        )
    facts = {
        "metrics": {"accepted": round(tally.kept / tally.answered, 4)},
        "tokens": tally.completion_tokens or None,
        "summary": "Worked solutions in `<think>…</think>` with a boxed answer, all verified. "
        + verified.ORIGIN[own.teacher].format(keys=own),
        "counts": {"problems": len(problems), **counts, **tally.counts()},
    }
    run.finish({"hub_dataset_id": (folder, facts)})


def recorded(run: Run[DistillKeys, None]) -> tuple[Dataset, dict[str, int]]:
    """The problems of the recipe's `traces` with their solutions, and what was left out."""
    own = run.keys
    if not own.traces:
        raise RecipeError(f"{run.recipe.path}: `traces`: `teacher: recorded` needs some")
    parts = []
    for position, source in enumerate(own.traces):
        key = f"traces[{position}]"
        columns = traces.LAYOUTS[source.layout][0]
        folder = run.pull(key)
        dataset = load_split(folder, source.config, source.split, columns, key)
        parts.append((source.layout, dataset))
    return traces.read(parts)


def asked(run: Run[DistillKeys, None]) -> tuple[Dataset, dict[str, int]]:
    """The problems of `dataset_name`."""
    own = run.keys
    if own.teacher in ("transformers", "vllm") and own.model_name_or_path is None:
        raise RecipeError(
            f"{run.recipe.path}: `model_name_or_path`: `teacher: {own.teacher}` needs a model"
        )
    if own.dataset_name is None:
        raise RecipeError(f"{run.recipe.path}: `dataset_name`: `{own.teacher}` needs problems")
    columns = ["problem", "answer", *(["expression"] if own.teacher == "program" else [])]
    folder = run.pull("dataset_name")
    return load_split(folder, own.dataset_config, own.dataset_split, columns, "dataset_name"), {}


def teacher(run: Run[DistillKeys, None]) -> ask.Teacher:
    """The teacher to ask."""
    own = run.keys
    if own.teacher == "endpoint":
        return endpoint.Endpoint(own)
    kind = ask.Vllm if own.teacher == "vllm" else ask.Transformers
    return kind(own, run.pull("model_name_or_path"))


def collected(run: Run[DistillKeys, None], problems: Dataset) -> Iterator[Answer]:
    """All answers of a teacher that is asked; those of an earlier start are not asked for again."""
    own = run.keys
    model = run.parent("model_name_or_path").payload if own.teacher != "endpoint" else ""
    path = run.folder / file_name(own, problems["problem"], model)
    samples = Answers(path)
    wanted = [
        ask.request(own, index, sample, text)
        for index, text in enumerate(problems["problem"])
        for sample in range(own.samples)
        if (index, sample) not in samples
    ]
    log.info("%d samples are here, %d are asked for", len(samples), len(wanted))
    try:
        for answer in teacher(run)(wanted) if wanted else ():
            samples.add(answer)
    except endpoint.TeacherDown as error:
        raise RecipeError(
            f"{error}; {len(samples)} samples are kept in {path}, and the same command asks for "
            "the rest"
        ) from error
    yield from (answer for answer in samples if answer.sample < own.samples)


if __name__ == "__main__":
    launch(main, DistillKeys)

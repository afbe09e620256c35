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

from moxin_recipes.hub.files import clear
from moxin_recipes.hub.splits import load_split, write_split
from moxin_recipes.problems.rows import Problems
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.rewards import known_answers
from moxin_recipes.run import Run, launch
from moxin_recipes.teachers import ask, endpoint, traces, verified
from moxin_recipes.teachers.answers import Answer, Answers, file_name

log = logging.getLogger(__name__)


def main(run: Run[DistillKeys, None]) -> None:
    """Asks, verifies, keeps, pushes."""
    keys = run.keys
    read = recorded(run) if keys.teacher == "recorded" else asked(run)
    read.leave_out(known_answers.try_answers(keys.rewards, read))
    problems = read.usable()
    answers = solutions(run, problems)
    folder = clear(run.folder / "hub_dataset_id")
    tally = verified.write(folder, problems, answers, keys)
    write_split(folder / "left_out", "train", read.left_out().to_list())
    read.warn()
    line = verified.left_out(folder, tally)
    if not tally.kept:
        raise RecipeError(
            f"`teacher`: no solution was accepted; {line}. What it said is in {folder / 'rejected'}"
        )
    lost.warn(line)
    origin = verified.ORIGIN[keys.teacher].format(keys=keys)
    facts = {
        "metrics": {"accepted": round(tally.kept / tally.answered, 4)},
        "tokens": tally.completion_tokens or None,
        "summary": "Worked solutions in `<think>…</think>` with a boxed answer, all verified. "
        + origin,
        "counts": read.counts | tally.counts(),
    }
    run.finish({"hub_dataset_id": (folder, facts)})


def recorded(run: Run[DistillKeys, None]) -> Problems:
    """The problems of the recipe's `traces` with their solutions."""
    parts = []
    for position, source in enumerate(run.keys.traces):
        key = f"traces[{position}]"
        columns = traces.LAYOUTS[source.layout][0]
        dataset = load_split(
            run.pull(key), source.config, source.split, columns, key, as_written=True
        )
        parts.append((source.layout, dataset))
    return traces.read(parts)


def asked(run: Run[DistillKeys, None]) -> Problems:
    """The problems of `dataset_name`; before anything is paid for, their answers are tried."""
    keys, key = run.keys, "dataset_name"
    names = (keys.problem_column, keys.answer_column)
    columns = [*names, *(["expression"] if keys.teacher == "program" else [])]
    rows = load_split(
        run.pull(key), keys.dataset_config, keys.dataset_split, columns, key, as_written=True
    )
    return Problems(rows, names, key, is_tests="code" in keys.rewards)


def solutions(run: Run[DistillKeys, None], problems: Dataset) -> Iterator[Answer]:
    """What the recipe's teacher says to the problems."""
    keys = run.keys
    if keys.teacher == "recorded":
        return verified.from_traces(problems, keys)
    if keys.teacher == "program":
        return verified.from_program(problems, keys)
    beside = verified.columns_of(problems[0], keys)
    known_answers.check_rewards(keys.rewards, problems["answer"], beside)  # before it is paid for
    return collected(run, problems)


def teacher(run: Run[DistillKeys, None]) -> ask.Teacher:
    """The teacher to ask."""
    if run.keys.teacher == "endpoint":
        return endpoint.Endpoint(run.keys)
    kind = ask.Vllm if run.keys.teacher == "vllm" else ask.Transformers
    return kind(run.keys, run.pull("model_name_or_path"))


def collected(run: Run[DistillKeys, None], problems: Dataset) -> Iterator[Answer]:
    """All answers of a teacher that is asked; those of an earlier start are not asked for again."""
    keys = run.keys
    model = run.parent("model_name_or_path").payload if keys.teacher != "endpoint" else ""
    path = run.folder / file_name(keys, problems["problem"], model)
    answers = Answers(path)
    requests = [
        ask.request(keys, index, sample, text)
        for index, text in enumerate(problems["problem"])
        for sample in range(keys.samples)
        if (index, sample) not in answers
    ]
    log.info("%d samples are here, %d are asked for", len(answers), len(requests))
    try:
        for answer in teacher(run)(requests) if requests else ():
            answers.add(answer)
    except endpoint.TeacherDown as error:
        raise RecipeError(
            f"{error}; {len(answers)} samples are kept in {path}, and the same command asks for "
            "the rest"
        ) from error
    yield from (answer for answer in answers if answer.sample < keys.samples)


if __name__ == "__main__":
    launch(main, DistillKeys)

"""The `moxin` command; it answers at once and loads a library only when a command needs it."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from moxin_recipes import environment
from moxin_recipes.audit import commands as audit_commands
from moxin_recipes.hub import commands as hub_commands
from moxin_recipes.jobs import commands as job_commands
from moxin_recipes.models import commands as model_commands
from moxin_recipes.plan import commands as plan_commands
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.scores import commands as score_commands
from moxin_recipes.views import commands as view_commands

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command line of `moxin`."""
    top = argparse.ArgumentParser(
        prog="moxin", description="Recipes from raw text to a reasoning model.", allow_abbrev=False
    )
    commands = top.add_subparsers(dest="command", required=True)

    def command(
        name: str, about: str, act: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        made.set_defaults(act=act)
        return made

    _on_ladders(command)
    score_commands.add_to(command)
    plan_commands.add_to(command)
    audit_commands.add_to(command)
    view_commands.add_to(command)
    model_commands.add_to(command)
    score = command("score", "Score given completions with a reward, as training does.", _score)
    score.add_argument("file", metavar="FILE.jsonl", help="rows of completion and answer")
    score.add_argument("--reward", required=True, metavar="NAME", help="as in a recipe's `rewards`")
    tokenizer = command("tokenizer", "Build a tokenizer: mistral, the exact 32k one.", _tokenizer)
    tokenizer.add_argument("name", choices=["mistral"])
    tokenizer.add_argument("--out", type=Path, required=True, metavar="DIR")
    hub = commands.add_parser("hub", help="The embedded Hub.", allow_abbrev=False)
    hub_commands.add_to(hub)
    return top


def _on_ladders(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that read recipes and talk to a Hub."""
    run = command("run", "Run the stages of a ladder that are not done yet.", _run)
    run.add_argument("ladder", type=Path)
    run.add_argument("--from", dest="start", metavar="STAGE", help="begin here, e.g. 30-sft")
    run.add_argument("--only", action="append", default=[], metavar="STAGE")
    run.add_argument("--force", action="append", default=[], metavar="STAGE")
    job_commands.add_to(run)
    check = command(
        "check", "Check recipes against the installed libraries, without a GPU.", _check
    )
    checked = check.add_mutually_exclusive_group(required=True)
    checked.add_argument("ladder", type=Path, nargs="?", help="a folder of recipes, or one recipe")
    checked.add_argument(
        "--openness",
        metavar="REPO[@REVISION]",
        help="a release on the Hub: its class in the Model Openness Framework, and what is missing",
    )
    check.add_argument("--online", action="store_true", help="unresolved inputs are errors")
    status = command("status", "Show each stage: done or not, where, and its scores.", _status)
    status.add_argument("ladder", type=Path)
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--remove-leftovers",
        action="store_true",
        help="delete unfinished local work under other values, and the steps that 00-data keeps",
    )
    samples = command("samples", "Show which documents a step of pretraining read.", _samples)
    samples.add_argument("recipe", type=Path, help="a recipe of the stage pretrain")
    samples.add_argument("--step", type=int, required=True, help="1 is the first one")
    samples.add_argument("--rank", type=int, help="only what this process read")
    samples.add_argument("--json", action="store_true")
    evaluate = command("evaluate", "Score tasks on any model, without a ladder.", _evaluate)
    evaluate.add_argument("model", metavar="MODEL[@REVISION]")
    evaluate.add_argument("--tasks", default="", help="names of tasks, groups or tags: a,b")
    evaluate.add_argument("--suite", help="a suite of tasks, such as zero-shot")
    evaluate.add_argument("--num-fewshot", type=int, help="the tasks' own if it is not given")
    evaluate.add_argument("--chat", action="store_true", help="ask in the chat template")
    evaluate.add_argument("--limit", type=int, help="items of each task")
    evaluate.add_argument("--batch-size", type=int, default=32)
    evaluate.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    chat = command("chat", "Talk with a model, greedily; a line each.", _chat)
    chat.add_argument("model", metavar="MODEL[@REVISION]")
    chat.add_argument("said", nargs="*", metavar="LINE", help="standard input without any")
    for of_launch in (run, status):
        of_launch.add_argument("--accelerate-config", type=Path, metavar="FILE")
    for with_hub in (run, check, status, samples, evaluate, chat):
        with_hub.add_argument("--hub", help="local, hf, or the URL of a Hub")
        with_hub.add_argument("--namespace", help="namespace of repositories named without one")


def main() -> None:
    """Entry point; bad input ends with one line on standard error and exit code 1."""
    options = parser().parse_args()
    environment.log_to_stderr()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if "namespace" in options:
            _choose_hub(options)
        options.act(options)
    except RecipeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
    except RuntimeError as error:
        if type(error).__name__ in ("HubError", "AwayError", "MissingError", "StageFailed"):
            sys.exit(f"error: {error}")
        if options.command == "hub":  # the launcher's, which imports nothing of ours
            sys.exit(f"error: {error}")
        raise


def _choose_hub(options: argparse.Namespace) -> None:
    environment.choose(options.hub)
    if options.namespace:
        os.environ["MOXIN_NAMESPACE"] = options.namespace


def _run(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.ladder import run, status
    from moxin_recipes.views import figure, pictures, stages

    as_jobs = job_commands.wanted(options)
    session.start()
    where = "the embedded Hub" if environment.is_local() else os.environ.get("HF_ENDPOINT", "")
    log.info("Hub: %s, namespace %s", where or "huggingface.co", session.namespace())
    if as_jobs:
        states = job_commands.run(options)
    else:
        states = run.run(
            options.ladder,
            start=options.start,
            only=options.only,
            force=options.force,
            accelerate_config=options.accelerate_config,
        )
    console = _console()
    console.print(status.table(states))
    for met, sentence in status.targets(options.ladder, states):
        word = {True: "met   ", False: "missed", None: "–     "}[met]
        console.print(f"{word} {sentence}", highlight=False, soft_wrap=True)
    picture = environment.home() / "report" / f"{options.ladder.resolve().name}.png"
    if figure.png(pictures.head(stages.read(states)), picture):
        console.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _evaluate(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.ladder import evaluation, status

    session.start()
    named = [{"task": name} for name in options.tasks.split(",") if name]
    named += [{"suite": options.suite}] if options.suite else []
    how = {"num_fewshot": options.num_fewshot, "chat": options.chat or None}
    how = {key: value for key, value in how.items() if value is not None}
    keys = {"eval_batch_size": options.batch_size, "dtype": options.dtype}
    keys |= {} if options.limit is None else {"limit": options.limit}
    folder = evaluation.evaluate(options.model, [line | how for line in named], keys)
    _console().print(status.table(status.states(folder)))


def _console() -> "Console":
    """The terminal, or 120 columns where the output goes to a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def _status(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.ladder import status

    session.start()
    states = status.states(options.ladder, options.accelerate_config)
    if options.remove_leftovers:
        status.remove_leftovers(states)
    if options.json:
        sys.stdout.write(json.dumps(status.rows(states), indent=1) + "\n")
        return
    _console().print(status.table(states))
    for line in status.leftover_lines(states):
        _console().print(line, highlight=False, soft_wrap=True)


def _tokenizer(options: argparse.Namespace) -> None:
    from moxin_recipes.tokens import mistral

    made = mistral.build()
    made.save_pretrained(options.out)
    sys.stdout.write(f"{options.out}: {len(made):,} pieces\n")


def _samples(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.ladder import documents_read

    session.start()
    parent, spans = documents_read.of_step(options.recipe, options.step, options.rank)
    if options.json:
        sys.stdout.write(json.dumps(documents_read.rows(spans), indent=1) + "\n")
        return
    title = f"step {options.step}, tokens of {parent.repo}@{parent.commit[:12]}"
    _console().print(documents_read.table(title, spans))


def _chat(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.models import chat

    session.start()
    chat.chat(options.model, options.said or sys.stdin)


def _check(options: argparse.Namespace) -> None:
    if options.openness:
        _openness(options.openness)
        return
    from moxin_recipes.ladder import check

    check.check(options.ladder, options.online)


def _openness(written: str) -> None:
    from moxin_recipes.audit import openness, released, tool_file
    from moxin_recipes.hub import session

    session.start()
    release = released.read(written)
    found = openness.findings(release)
    for line in openness.lines(release, found):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"the model openness tool's file: {tool_file.write(release, found)}\n")


def _score(options: argparse.Namespace) -> None:
    from moxin_recipes.rewards import rows

    for row in rows.scored(options.reward, options.file):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

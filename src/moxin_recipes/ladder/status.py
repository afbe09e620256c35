"""What a ladder has on the Hub: states, the table, targets met or missed; views of manifests."""

import logging
import statistics
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from moxin_recipes.ladder import launching, order
from moxin_recipes.ladder import state as stage_states
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe import resume
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.resume import Leftover

log = logging.getLogger(__name__)


def states(folder: Path, accelerate_config: Path | None = None) -> list[State]:
    """The state of each stage of a ladder, in order, under its launcher's file or the given one."""
    states = []
    for recipe in order.read(folder):
        launcher = Launcher()
        if recipe.trains:
            file = launching.file_of(recipe, accelerate_config)
            launcher = launching.launcher_of(recipe, file)
        states.append(stage_states.state(recipe, launcher))
    return states


def leftovers(state: State) -> list[Leftover]:
    """Unfinished work of a stage under other values than those of its recipe and inputs today.

    While an input does not exist, nobody can tell which work is whose: then there is none.
    """
    if state.identity is None:
        return []
    return resume.leftovers(state.recipe.output_dir, state.identity)


def kept_steps(state: State) -> Leftover | None:
    """The finished steps of a stage that is done: only another recipe has a use for them."""
    folder = state.recipe.output_dir / resume.STEPS
    return Leftover(folder, None) if state.done and folder.is_dir() else None


def rows(states: list[State]) -> list[dict[str, Any]]:
    """What `moxin status --json` prints, one row a stage."""
    return [_row(state) for state in states]


def _row(state: State) -> dict[str, Any]:
    manifest = state.manifest or {}
    return {
        "stage": state.recipe.name,
        "state": state.word,
        "repo": next(iter(state.recipe.outputs.values()), None),
        "revision": state.recipe.tag,
        "commit": state.commit,
        "seconds": manifest.get("seconds"),
        "tokens": manifest.get("tokens"),
        "metrics": manifest.get("metrics", {}),
    }


def leftover_lines(states: list[State]) -> list[str]:
    """A line for each folder of unfinished work under other values, and of kept steps: its size."""
    lines = []
    for state in states:
        for leftover in leftovers(state):
            step = leftover.checkpoint.name.split("-")[1] if leftover.checkpoint else None
            what = f"a checkpoint of step {step}" if step else "no checkpoint"
            size = leftover.bytes / 1e6
            lines.append(
                f"unfinished under other values: {state.recipe.name}: {leftover.folder} has "
                f"{what}, {size:,.0f} MB"
            )
        if kept := kept_steps(state):
            lines.append(
                f"of use if its recipe changes: {state.recipe.name}: {kept.folder} has finished "
                f"steps, {kept.bytes / 1e6:,.0f} MB"
            )
    return lines


def remove_leftovers(states: list[State]) -> None:
    """Deletes unfinished work under other values and kept steps, and logs it.

    RecipeError while a stage runs.
    """
    for state in states:
        kept = kept_steps(state)
        for leftover in (*leftovers(state), *([kept] if kept else [])):
            resume.remove(leftover)
            log.info("deleted %s", leftover.folder)


def table(states: list[State]) -> Table:
    """Stage, what it pushed at which commit, seconds, tokens, its score before → after."""
    drawn = Table(title="The ladder")
    for name in ("stage", "pushed", "commit"):
        drawn.add_column(name, overflow="fold")
    for name in ("seconds", "tokens"):
        drawn.add_column(name, justify="right")
    drawn.add_column("score", overflow="fold")
    for row, state in zip(rows(states), states, strict=True):
        scores = [name for name in state.recipe.keys.scores if name in row["metrics"]]
        before = started_from(state, states)
        earlier = ((before and before.manifest) or {}).get("metrics", {})
        changes = [_change(name, earlier.get(name), row["metrics"]) for name in scores]
        changes += [_of_model(one) for one in (state.manifest or {}).get("scores", [])]
        drawn.add_row(
            row["stage"],
            f"{row['repo']}@{row['revision']}" if row["commit"] else row["state"],
            (row["commit"] or "")[:12],
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
            "" if row["tokens"] is None else f"{row['tokens']:,}",
            "\n".join(changes),
        )
    return drawn


def _of_model(score: dict[str, Any]) -> str:
    """One line of an evaluation: the model, the task, its score with the interval of 95 %."""
    asked = f"{score['model']}: {score['task']}"
    if score["value"] is None:
        return f"{asked} failed"
    interval = "" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{asked} {score['metric']} {score['value']:.3f}{interval}"


def started_from(state: State, states: list[State]) -> State | None:
    """The stage whose model this one started from, where both are measured on the same problems."""
    started = [r for r in state.recipe.references if r.key == "model_name_or_path"]
    for other in states:
        splits = [getattr(one.recipe.keys, "eval_split", None) for one in (other, state)]
        same = splits[0] == splits[1]
        made = [(repo, other.recipe.tag) for repo in other.recipe.outputs.values()]
        if same and any((r.repo, r.revision) in made for r in started):
            return other
    return None


def _change(score: str, before: float | None, metrics: dict[str, float]) -> str:
    shown = f"{metrics[score]:.3f}"
    if before is not None:
        shown = f"{before:.3f} → {shown}"
    error = metrics.get(f"{score}_stderr")
    return f"{score} {shown}" + (f" ± {error:.3f}" if error is not None else "")


def targets(folder: Path, states: list[State]) -> list[tuple[bool | None, str]]:
    """(met, sentence) for each line of the ladder's `targets.yaml`; met is None without a score.

    A target bounds a metric, or its change since another stage where `versus` names one.
    """
    path = folder / "targets.yaml"
    if not path.exists():
        return []
    manifests = {state.recipe.name: state.manifest or {} for state in states}
    return [
        _judged(target, manifests) for target in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]


def _judged(
    target: dict[str, Any], manifests: dict[str, dict[str, Any]]
) -> tuple[bool | None, str]:
    metric, stage, versus = target["metric"], target["stage"], target.get("versus")
    what = f"{stage}: {metric}" + (f" since {versus}" if versus else "")
    bound = target.get("at_least", target.get("at_most"))
    word = "at least" if "at_least" in target else "at most"
    value = manifests[stage].get("metrics", {}).get(metric)
    base = manifests[versus].get("metrics", {}).get(metric) if versus else 0.0
    if value is None or base is None:
        return None, f"{what} {word} {bound:+.2f}: not measured"
    change = value - base
    met = change >= bound if "at_least" in target else change <= bound
    error = _paired_error(metric, manifests[stage], manifests[versus]) if versus else None
    error = error if versus else manifests[stage]["metrics"].get(f"{metric}_stderr")
    shown = f"{change:+.3f}" if versus else f"{change:.3f}"
    shown += f" ± {error:.3f}" if error is not None else ""
    return met, f"{what} {word} {bound:{'+' if versus else ''}.2f}: {shown}"


def _paired_error(metric: str, new: dict[str, Any], old: dict[str, Any]) -> float | None:
    """Standard error of the mean difference over the same problems, where both kept them."""
    a, b = new.get("items", {}).get(metric), old.get("items", {}).get(metric)
    if not a or not b or len(a) != len(b):
        return None
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return float(statistics.stdev(differences) / len(differences) ** 0.5)

"""`moxin scores` and `moxin compare`: pushed scores read again, and two models side by side."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


def add_to(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds both to the command line; `command` makes a parser of a name, a help and an action."""
    scores = command("scores", "Show pushed scores, computed again from their items.", _scores)
    scores.add_argument("repository", metavar="SCORES[@REVISION]")
    scores.add_argument("--json", action="store_true")
    compare = command("compare", "Compare two models on the same items, with errors.", _compare)
    compare.add_argument("a", metavar="SCORES[@REVISION][:MODEL]")
    compare.add_argument("b", metavar="SCORES[@REVISION][:MODEL] or paper:NAME")
    compare.add_argument("--json", action="store_true")
    for one in (scores, compare):
        one.add_argument("--hub", help="local, hf, or the URL of a Hub")
        one.add_argument("--namespace", help="namespace of repositories named without one")


def _scores(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.scores import published

    session.start()
    scores = published.read(options.repository)
    wrong = list(published.wrong(scores))
    if options.json:
        sys.stdout.write(json.dumps({"scores": scores.table, "wrong": wrong}, indent=1) + "\n")
    else:
        _print(_table_of(scores.table, f"{scores.parent.repo}@{scores.parent.commit[:12]}"))
    if wrong:
        raise RecipeError(f"{options.repository}: " + "; ".join(wrong))
    if not options.json:
        items = sum(len(scores.items(unit)) for unit in scores.units)
        sys.stdout.write(f"computed again from {items:,} items: every score is the same\n")


def _table_of(rows: list[Row], title: str) -> "Table":
    from rich.table import Table

    drawn = Table(title=title)
    for name in ("model", "task", "metric", "score [95 %]", "items", "shots", "note"):
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(
            *(row["model"], row["task"], row["metric"] or ""),
            shown(row["value"], row["low"], row["high"]),
            *("" if row[name] is None else str(row[name]) for name in ("items", "shots")),
            row["failed"] or _counts(row),
        )
    return drawn


def _counts(row: Row) -> str:
    """What a reader of the score has to know of its answers."""
    names = ("prompts_cut", "at_limit", "unclosed_thoughts", "nothing_extracted")
    said = [f"{row[name]} {name.replace('_', ' ')}" for name in names if row[name]]
    return ", ".join([*([] if row["whole"] else ["not the whole set"]), *said])


def shown(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval, or without one where there is none."""
    if value is None:
        return "–"
    return f"{value:.4f}" + (f" [{low:.4f}, {high:.4f}]" if low is not None else " (no error)")


def _compare(options: argparse.Namespace) -> None:
    from moxin_recipes.hub import session
    from moxin_recipes.scores import compare

    session.start()
    a = compare.side(options.a)
    if options.b.startswith(compare.PAPER):
        _beside_paper(options, a, options.b.removeprefix(compare.PAPER))
        return
    b = compare.side(options.b)
    found = compare.pairs(a, b)
    rows = [
        {
            "task": pair.task,
            "metric": pair.metric,
            "pairs": pair.pairing.pairs,
            "only in A / B": f"{pair.apart[0]} / {pair.apart[1]}",
            "A": f"{pair.values[0]:.4f}",
            "B": f"{pair.values[1]:.4f}",
            "A − B": _difference(pair.pairing.difference, pair.pairing.stderr),
            "95 %": _interval(pair.pairing.low, pair.pairing.high),
            "alone": f"{pair.pairing.alone[0]} / {pair.pairing.alone[1]}",
            "p": f"{pair.pairing.p:.3g}",
            "detectable": "–"
            if pair.pairing.detectable is None
            else f"{pair.pairing.detectable:.4f}",
            "verdict": pair.verdict,
        }
        for pair in found
    ]
    notes = [f"settings differ: {pair.task}: {one}" for pair in found for one in pair.differs]
    _say(options, rows, f"A: {a.model}   B: {b.model}", list(dict.fromkeys(notes)))


def _beside_paper(options: argparse.Namespace, a: Any, name: str) -> None:
    from moxin_recipes.scores import compare

    found, differs = compare.beside_paper(a, name)
    rows = [
        {
            "task": one.task,
            "metric": one.metric,
            "items": one.items,
            "here": f"{one.value:.4f}",
            "paper": f"{one.paper:.4f}",
            "here − paper": _difference(one.value - one.paper, one.stderr),
            "verdict": one.verdict,
        }
        for one in found
    ]
    notes = [f"differs from the paper: {line}" for line in differs]
    _say(options, rows, f"{a.model} beside the paper's {name}", notes)


def _difference(value: float, stderr: float | None) -> str:
    return f"{value:+.4f} ± {stderr:.4f}" if stderr is not None else "one pair has no error"


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None else f"[{low:+.4f}, {high:+.4f}]"


def _say(options: argparse.Namespace, rows: list[Row], title: str, notes: list[str]) -> None:
    if options.json:
        sys.stdout.write(json.dumps({"rows": rows, "notes": notes}, indent=1) + "\n")
        return
    from rich.table import Table

    drawn = Table(title=title)
    for name in rows[0]:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*map(str, row.values()))
    _print(drawn)
    for note in notes:
        sys.stdout.write(note + "\n")


def _print(drawn: "Table") -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(drawn)

"""`moxin scores` and `moxin compare`: pushed scores read again, and two models side by side."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moxin_recipes.recipe.strict import RecipeError

if TYPE_CHECKING:
    from rich.table import Table

    from moxin_recipes.scores.beside import Beside
    from moxin_recipes.scores.compare import Pair, Side
    from moxin_recipes.scores.published import Published

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]  # of a drawn table
_SAID = 20  # of the edits that a line of error names


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
        more = f"; and {len(wrong) - _SAID:,} more" if len(wrong) > _SAID else ""
        raise RecipeError(f"{options.repository}: " + "; ".join(wrong[:_SAID]) + more)
    if not options.json:
        _print_same(scores)


def _print_same(scores: "Published") -> None:
    from moxin_recipes.scores import published

    items = sum(len(scores.items(unit)) for unit in scores.units)
    left = sum(len(published.by_functions(unit)) for unit in scores.units)
    count = sum(len(unit["scores"]) for unit in scores.units) - left
    sys.stdout.write(
        f"{count:,} scores computed again from {items:,} items: every one is the same\n"
    )
    if left:
        sys.stdout.write(f"{left:,} more are by functions of their tasks: not computed again\n")


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
    from moxin_recipes.scores import beside, compare

    session.start()
    a = compare.side(options.a)
    if options.b.startswith(beside.PAPER):
        _beside_paper(options, a, options.b.removeprefix(beside.PAPER))
        return
    b = compare.side(options.b)
    found, notes = compare.pairs(a, b)
    notes += [f"settings differ: {pair.task}: {one}" for pair in found for one in pair.differs]
    _say(options, [_of_pair(pair) for pair in found], notes, f"A: {a.model}   B: {b.model}", _PAIR)


def _of_pair(pair: "Pair") -> Row:
    """A row of `--json`; of a single pair there is no difference, for it has no error."""
    pairing = pair.pairing
    return {
        **{"task": pair.task, "metric": pair.metric, "pairs": pairing.pairs},
        **{"shots_a": pair.shots[0], "shots_b": pair.shots[1]},
        **{"only_a": pair.apart[0], "only_b": pair.apart[1]},
        **{"a": pair.values[0], "b": pair.values[1]},
        "difference": None if pairing.stderr is None else pairing.difference,
        **{"stderr": pairing.stderr, "low": pairing.low, "high": pairing.high},
        **{"alone_a": pairing.alone[0], "alone_b": pairing.alone[1]},
        **{"p": pairing.p, "detectable": pairing.detectable, "verdict": pair.verdict},
    }


_PAIR: Columns = {
    "task": lambda row: row["task"],
    "metric": lambda row: row["metric"],
    "pairs": lambda row: f"{row['pairs']}",
    "shots": lambda row: f"{row['shots_a']} / {row['shots_b']}",
    "unpaired": lambda row: f"{row['only_a']} / {row['only_b']}",
    "A": lambda row: f"{row['a']:.4f}",
    "B": lambda row: f"{row['b']:.4f}",
    "A − B": lambda row: _difference(row),
    "95 %": lambda row: "–" if row["low"] is None else f"[{row['low']:+.4f}, {row['high']:+.4f}]",
    "alone": lambda row: f"{row['alone_a']} / {row['alone_b']}",
    "p": lambda row: f"{row['p']:.3g}",
    "detectable": lambda row: "–" if row["detectable"] is None else f"{row['detectable']:.4f}",
    "verdict": lambda row: row["verdict"],
}


def _difference(row: Row) -> str:
    if row["stderr"] is None:
        return "no error, 1 pair"
    return f"{row['difference']:+.4f} ± {row['stderr']:.4f}"


def _beside_paper(options: argparse.Namespace, a: "Side", name: str) -> None:
    from moxin_recipes.scores import beside

    found, differs = beside.beside_paper(a, name)
    notes = [f"settings differ: {one.task}: {line}" for one in found for line in one.differs]
    notes += [f"differs from the paper: {line}" for line in differs]
    title = f"{a.model} beside the paper's {name}"
    _say(options, [_of_paper(one) for one in found], notes, title, _PAPER)


def _of_paper(one: "Beside") -> Row:
    return {
        **{"task": one.task, "metric": one.metric, "items": one.items},
        **{"here": one.value, "low": one.low, "high": one.high},
        **{"paper": one.paper, "paper_stderr": one.paper_stderr, "paper_in_interval": one.within},
        **{"difference": one.value - one.paper, "stderr": one.stderr, "verdict": one.verdict},
    }


_PAPER: Columns = {
    "task": lambda row: row["task"],
    "metric": lambda row: row["metric"],
    "items": lambda row: f"{row['items']}",
    "here [95 %]": lambda row: shown(row["here"], row["low"], row["high"]),
    "paper": lambda row: f"{row['paper']:.4f} ± {row['paper_stderr']:.4f}",
    "within": lambda row: {True: "yes", False: "no", None: "–"}[row["paper_in_interval"]],
    "here − paper": lambda row: _difference(row),
    "verdict": lambda row: row["verdict"],
}


def _say(
    options: argparse.Namespace, rows: list[Row], notes: list[str], title: str, columns: Columns
) -> None:
    notes = list(dict.fromkeys(notes))
    if options.json:
        sys.stdout.write(json.dumps({"rows": rows, "notes": notes}, indent=1) + "\n")
        return
    from rich.table import Table

    drawn = Table(title=title)
    for name in columns:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(row) for cell in columns.values()))
    _print(drawn)
    for note in notes:
        sys.stdout.write(note + "\n")


def _print(drawn: "Table") -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(drawn)

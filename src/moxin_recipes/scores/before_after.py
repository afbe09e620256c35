"""What each stage of a line of models did to each score, with intervals of 95 %."""

from collections.abc import Iterable, Iterator
from typing import Any

from moxin_recipes.hub.ancestry import Link
from moxin_recipes.hub.session import qualified
from moxin_recipes.scores.statistics import Z, estimate

Row = dict[str, Any]
Measure = tuple[Any, ...]  # what has to be alike for two numbers to stand beside each other
_FORMS = {"plain": "answers alone", "chain": "chains of thought"}
_ACCURACIES = ("accuracy", "longer_accuracy", "longer_forced_chain_accuracy")


def of_line(line: list[Link], score_tables: Iterable[list[Row]]) -> list[Row]:
    """A row for each stage and measure: `stage`, `measure`, `items`, `before`, `after`, `since`.

    `before` is the nearest earlier model's value of the very measure (None where there is none),
    `since` its stage; a value is {value, low, high}. `score_tables` are those of scores
    repositories: they count for the models of the line.
    """
    tables = [row for table in score_tables for row in table if row.get("value") is not None]
    seen: dict[Measure, tuple[Row, str]] = {}
    rows = []
    for link in line:
        stage = link.manifest.get("recipe_name", link.short)
        measured = [*_held_out(link.manifest), *_of_tables(link, tables)]
        for measure, label, items, value in measured:
            before, since = seen.get(measure, (None, None))
            rows.append(
                {
                    "stage": stage,
                    "measure": label,
                    "items": items,
                    "before": before,
                    "since": since,
                    "after": value,
                }
            )
            seen[measure] = (value, stage)
    return rows


def _held_out(manifest: Row) -> Iterator[tuple[Measure, str, int | None, Row]]:
    """The measures of a stage by itself, by its manifest."""
    metrics, recipe = manifest.get("metrics") or {}, manifest.get("recipe") or {}
    measure: Measure
    payloads = {parent["key"]: parent["payload"] for parent in manifest.get("parents", [])}
    if "bits_per_byte" in metrics:
        context = recipe.get("eval_context_length")
        measure = ("bits_per_byte", payloads.get("dataset_name"), context)
        yield measure, "bits per byte (lower is better)", None, _plain(metrics["bits_per_byte"])
    if "preference_accuracy" in metrics:
        value, error = metrics["preference_accuracy"], metrics.get("preference_accuracy_stderr")
        measure = ("preference_accuracy", payloads.get("dataset_name"))
        preferred = _plain(value)
        if error is not None:
            preferred |= {"low": max(0.0, value - Z * error), "high": min(1.0, value + Z * error)}
        yield measure, "preference accuracy", None, preferred
    for name in _ACCURACIES:
        if items := (manifest.get("items") or {}).get(name):
            split = recipe.get("longer_split" if name.startswith("longer_") else "eval_split")
            samples, form = recipe.get("eval_samples"), recipe.get("answer_format")
            how = f"mean of {samples} samples" if (samples or 1) > 1 else "greedy"
            if "forced" in name:
                how = "greedy, chain begun"
            found = estimate([[item] for item in items])
            value = {"value": found.value, "low": found.low, "high": found.high}
            measure = (name, payloads.get("problems_name"), split, how, form, len(items))
            label = f"accuracy on `{split}` ({_FORMS.get(str(form), form)}, {how})"
            yield measure, label, len(items), value


def _of_tables(link: Link, tables: list[Row]) -> Iterator[tuple[Measure, str, int | None, Row]]:
    """The scores of a model in the tables; the stage `evaluate` names it as the recipe does."""
    for row in tables:
        repo, _, revision = row["model"].partition("@")
        if (qualified(repo), revision or "main") == (link.repo, link.revision):
            measure = (row["task"], row["metric"], row["shots"])
            label = f"{row['task']}: {row['metric']}, {row['shots']}-shot"
            yield measure, label, row["items"], {key: row[key] for key in ("value", "low", "high")}


def _plain(value: float) -> Row:
    return {"value": value, "low": None, "high": None}

"""Tasks on models (paper §5): scores with their intervals, and every item they are made of.

Each task on each model is scored once: a longer list, a kill or a task that failed cost no more
than what is missing. With `corpus_name` each score is given twice: over all items, and over those
that decontamination looked for in the corpus and did not find.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.evaluate \
      --config recipes/moxin-nano/50-evaluate.yaml

Needs: the models, held-out items for the tasks of this package, the corpus. Pushes: a dataset of
scores and items, and the scores of whole sets to the models' cards.
"""

import functools

from moxin_recipes.hub.cards.scores import add_scores
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import table
from moxin_recipes.scores.scoring import Scoring
from moxin_recipes.scores.table import Failed
from moxin_recipes.scores.units import Line, Store, Unit, plan


def main(run: Run[EvaluateKeys, None]) -> None:
    """The units that are not there yet, model after model; then all scores to the Hub."""
    keys, folder = run.keys, run.folder / "hub_scores_id"
    lines = plan(keys, run.parents)
    pushed = keys.hub_scores_id if keys.push_to_hub and run.is_main else None
    store = Store(run.folder / "units", pushed)
    failed = scored(run, lines, store)
    if not run.is_main:
        return
    facts = table.write(folder, lines, store, failed)
    failures = table.failures(lines, failed)
    if keys.push_to_hub:
        run.share("hub_scores_id", folder, facts)
        give_to_cards(lines, store)
    if failures:
        raise RecipeError(
            f"{run.recipe.path}: {len(failures)} tasks have no score, the first: {failures[0]}; "
            "the rest is kept, and the same command scores these alone"
        )
    run.finish({"hub_scores_id": (folder, facts)})


def scored(run: Run[EvaluateKeys, None], lines: list[Line], store: Store) -> Failed:
    """Scores what the store lacks; key → reason of what failed. What is done is pushed at once."""
    failed: Failed = {}
    scoring = Scoring(run.keys, run.parents, run.pull, run.fetch, run.ranks, store)
    models = list(dict.fromkeys(line.model for line in lines))
    for position, name in enumerate(models, start=1):
        units = [unit for line in lines if line.model == name for unit in line.units]
        lacking = functools.partial(missing, units, store)
        # The first process alone knows what is stored.
        wanted = run.ranks.once(f"the units that {name} lacks", lacking)
        failed |= scoring.score(
            list({unit.key: unit for unit in units if unit.key in wanted}.values())
        )
        if wanted and position < len(models) and run.keys.push_to_hub:
            pushed = functools.partial(share, run, lines, store, failed)
            run.ranks.once(f"the push of {name}'s scores", pushed)
    scoring.close()
    return failed


def missing(units: list[Unit], store: Store) -> list[str]:
    """Keys of the units that the store lacks."""
    return [unit.key for unit in units if store.get(unit.key) is None]


def share(run: Run[EvaluateKeys, None], lines: list[Line], store: Store, failed: Failed) -> None:
    """Pushes what is scored by now; the stage is not done."""
    folder = run.folder / "hub_scores_id"
    run.share("hub_scores_id", folder, table.write(folder, lines, store, failed))


def give_to_cards(lines: list[Line], store: Store) -> None:
    """The scores of each model that these recipes made to its card; a curve belongs on none."""
    weights: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        made_here = not line.parent.payload.startswith("tree:")
        if made_here and not line.asked.model.endswith("@*"):
            weights.setdefault((line.parent.repo, line.parent.payload), []).append(line)
    for same in weights.values():
        units = {unit.key: store.get(unit.key) for line in same for unit in line.units}
        add_scores(same[0].parent, [unit for unit in units.values() if unit])


if __name__ == "__main__":
    launch(main, EvaluateKeys)

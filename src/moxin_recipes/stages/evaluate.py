"""lm-eval on base, instruct and reasoning models (paper §5): scores with their standard errors.

With `corpus_name` each score is given twice: over all items, and over those that decontamination
looked for in the corpus and did not find.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.evaluate \
      --config recipes/moxin-nano/50-evaluate.yaml

Needs: the models, held-out items for the tasks of this package, the corpus. Pushes: a dataset of
scores, and each score into the metadata of its model's card.
"""

import json

from moxin_recipes.hub.cards.scores import add_scores
from moxin_recipes.hub.files import clear, write_json
from moxin_recipes.hub.pull import Parent, download
from moxin_recipes.hub.splits import write_split
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import clean_items, harness
from moxin_recipes.scores.rows import Row, metrics, rows_of


def main(run: Run[EvaluateKeys, None]) -> None:
    """Each task on its model, then the scores to the Hub."""
    keys = run.keys
    pinned = [parent for parent in run.parents if parent.key == "models"]
    models = dict(zip(keys.models, pinned, strict=True))
    rows = scored(run, models)
    folder = clear(run.folder / "hub_scores_id")
    write_split(folder, "test", rows)
    if keys.push_to_hub:
        for name, parent in models.items():
            add_scores(parent.repo, [row for row in rows if row["model"] == name])
    facts = {"summary": "Scores of the models of this ladder.", "metrics": metrics(rows)}
    run.finish({"hub_scores_id": (folder, facts)})


def scored(run: Run[EvaluateKeys, None], models: dict[str, Parent]) -> list[Row]:
    """The rows of all tasks; a killed stage goes on with those that are left."""
    keys = run.keys
    searched = clean_items.searched(keys.corpus_name, run.pull)
    rows: list[Row] = []
    for number, wanted in enumerate(keys.evaluations):
        done = run.state / f"{number}.json"
        if not done.exists():
            model = models[wanted.model]
            results = harness.evaluate(wanted, download(model), keys, run.pull, run.state)
            write_json(done, rows_of(results, wanted, model.commit, searched))
        rows += json.loads(done.read_text(encoding="utf-8"))
    return rows


if __name__ == "__main__":
    launch(main, EvaluateKeys)

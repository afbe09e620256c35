"""The release: one index and one page for every artifact; opens the repositories if asked to.

    accelerate launch --config_file accelerate_configs/cpu.yaml -m moxin_recipes.stages.release \
      --config recipes/moxin-nano/60-release.yaml

Needs: everything that is to be released. Pushes: the final model again under the release's name,
with the index as `release.json`, the lineage as a drawing, and a card that sums up all stages:
scores before and after, data, licences, cost. Where the Hub has collections, one holds them all.
"""

import shutil
from typing import Any

from moxin_recipes.hub import ancestry, licences, targets
from moxin_recipes.hub.ancestry import Link
from moxin_recipes.hub.cards import lineage, released
from moxin_recipes.hub.code import code
from moxin_recipes.hub.collection import collect
from moxin_recipes.hub.files import clear, write_json
from moxin_recipes.hub.manifest import CARD, MANIFEST
from moxin_recipes.hub.pull import download, read_manifest
from moxin_recipes.hub.releases import INDEX
from moxin_recipes.hub.session import api, errors, qualified
from moxin_recipes.recipe.keys.release import ReleaseKeys
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.run import Run, launch
from moxin_recipes.scores import before_after


def main(run: Run[ReleaseKeys, None]) -> None:
    """Collect, push, and publish where the recipe says so."""
    keys = run.keys
    if keys.publish:
        prove_licences(run)
        prove_clean(run)
    folder = clear(run.folder / "hub_model_id")
    final = [parent for parent in run.parents if parent.key == "models"][-1]
    for path in sorted(download(final).iterdir()):
        if path.name not in (CARD, MANIFEST) and not path.name.startswith("."):
            shutil.copy(path, folder)
    write_json(folder / INDEX, [parent.as_dict() for parent in run.parents])
    line, manifests = ancestry.line(final), made(run)
    drawn = lineage.draw(keys.hub_model_id, line, manifests)
    (folder / lineage.FILE).write_text(drawn, encoding="utf-8")
    facts = {
        "summary": f"Release of the ladder; the weights are those of {final.repo}.",
        "release": summed_up(run, line, manifests),
        "licenses": licences.listed(licences.of_parent(final)),
    }
    if keys.publish and keys.push_to_hub:  # before the push that means done
        keys.hub_private_repo = False
        repositories = sorted({(parent.repo, parent.type) for parent in run.parents})
        for repo, kind in repositories:  # all can be opened, or none is
            targets.prove("models", repo, kind, private=True)
        for repo, kind in repositories:
            with errors(repo):
                api().update_repo_settings(repo, repo_type=kind, private=False)
        with errors(keys.hub_model_id):
            release = api().create_repo(keys.hub_model_id, private=False, exist_ok=True).repo_id
            api().update_repo_settings(release, private=False)
    if keys.push_to_hub:
        parts = dict.fromkeys((parent.repo, parent.type) for parent in run.parents)
        release = qualified(keys.hub_model_id)
        about = f"All of {release}: weights, data and scores, each at the commit that it pins."
        items = [(release, "model"), *parts]
        collect(release.rpartition("/")[2], about, items, private=not keys.publish)
    run.finish({"hub_model_id": (folder, facts)})


def made(run: Run[ReleaseKeys, None]) -> dict[str, dict[str, Any]]:
    """Manifests of all that is released, by commit; {} for what these recipes did not make."""
    return {
        parent.commit: read_manifest(parent.repo, parent.type, parent.commit) or {}
        for parent in run.parents
    }


def summed_up(
    run: Run[ReleaseKeys, None], line: list[Link], manifests: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What the page says of all stages together, by their manifests.

    `weights` is what it takes of the manifest of the model whose weights these are.
    """
    whole = [link.manifest for link in line if link.manifest] + list(manifests.values())
    datasets = [
        (parent.repo, manifests[parent.commit])
        for parent in run.parents
        if parent.type == "dataset"
    ]
    tables = [manifest.get("scores") or [] for _, manifest in datasets]
    costs, total = released.costs(whole)
    parts = (part for parent in run.parents for part in licences.of_parent(parent))
    of_weights = line[-1].manifest if line else {}
    kept = ("stage", "recipe", "parents", "example")
    return {
        "told": lineage.told(line),
        "scores": before_after.of_line(line, tables),
        "data": released.data(datasets),
        "evaluation_items": released.evaluation_items(whole),
        "costs": costs,
        "total": total,
        "licenses": licences.listed(parts),
        "weights": {name: of_weights[name] for name in kept if name in of_weights},
    }


def prove_licences(run: Run[ReleaseKeys, None]) -> None:
    """RecipeError unless each licence is known and allows commercial use, or is accepted."""
    parts = sorted({part for parent in run.parents for part in licences.of_parent(parent)})
    barred = {str(part): part.barrier for part in parts if part.barrier}
    if left := [name for name in barred if name not in run.keys.accept_parts]:
        named = "; ".join(f"{name}: {barred[name]}" for name in left)
        raise RecipeError(
            f"`publish`: {len(left)} parts would be opened under a licence that is non-commercial "
            f"or not known: {named}; state their licence where they come from, leave them out, or "
            "name each under `accept_parts`"
        )
    if absent := [name for name in run.keys.accept_parts if name not in barred]:
        raise RecipeError(f"`accept_parts`: no such part needs it: {absent[0]}")


def prove_clean(run: Run[ReleaseKeys, None]) -> None:
    """RecipeError if code that no commit holds made, or would make, what is opened."""
    makers = {"this release": code()}
    for parent in run.parents:
        manifest = read_manifest(parent.repo, parent.type, parent.commit)
        if manifest is not None:
            makers[f"{parent.repo}@{parent.commit[:12]}"] = manifest["code"]
    patched = [name for name, made_by in makers.items() if _is_patched(made_by)]
    if patched:
        raise RecipeError(
            f"`publish`: made by code that was changed and not committed: {', '.join(patched)}; "
            "commit it, and make them again"
        )


def _is_patched(made_by: dict[str, Any]) -> bool:
    return bool(made_by.get("patch") or made_by.get("modified"))  # the latter before patches


if __name__ == "__main__":
    launch(main, ReleaseKeys)

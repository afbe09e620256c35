"""Scores on the main of the model that was scored: for the Hub, for readers of cards, for people.

The forms: `.eval_results/*.yaml` (https://huggingface.co/docs/hub/eval-results), `model-index` in
the card's metadata, and a table in its text.
"""

import logging
from pathlib import Path

import yaml
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    RepoCard,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.repocard_data import model_index_to_eval_results

from moxin_recipes.hub.cards.eval_results import OURS, eval_results
from moxin_recipes.hub.cards.model_index import first_scored, model_index
from moxin_recipes.hub.cards.tables import Unit, with_table
from moxin_recipes.hub.manifest import CARD, EVAL_RESULTS
from moxin_recipes.hub.pull import Parent, download, resolve
from moxin_recipes.hub.session import api, errors
from moxin_recipes.recipe.fields import Reference

log = logging.getLogger(__name__)
Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete
_REFUSED = {403: "this token may not write there", 412: "main moved in this moment"}


def add_scores(parent: Parent, units: list[Unit]) -> None:
    """Makes the scores on main of the model's repository those of these units, in one commit.

    `units` are the finished ones of this payload. Only whole sets count; where there are none,
    main stays as it is, and so it does where it is not at the payload that was scored. What is
    there of other people stays. The same units again make no commit; tags never move.

    Raises:
        HubError: the Hub is away, or refuses the commit.
    """
    main = resolve(Reference("model", "model", parent.repo, "main"))
    kept = {unit["key"]: unit for unit in units if _counts(unit, main)}
    if main.payload != parent.payload:
        _left(parent, "main has another payload (this is a step on the way, or main has moved)")
    elif not kept:
        _left(parent, "no task was scored on the whole set")
    else:
        _commit(main, sorted(kept.values(), key=lambda unit: (unit["task"], unit["key"])))


def _left(parent: Parent, reason: str) -> None:
    log.info("no scores on the card of %s@%s: %s", parent.repo, parent.revision, reason)


def _counts(unit: Unit, main: Parent) -> bool:
    return unit["whole"] and not unit["failed"] and unit["payload"] == main.payload


def _commit(main: Parent, units: list[Unit]) -> None:
    there = _there(download(main, [CARD, f"{EVAL_RESULTS}/{OURS}*.yaml"]))
    try:
        readme = there.get(CARD, b"").decode("utf-8-sig")
        card = RepoCard(readme)
        if index := card.data.get("model-index"):
            model_index_to_eval_results(index)  # fails for what is none
    except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        _left(main, f"its README.md cannot be read: {' '.join(repr(error).split())}")
        return
    units = first_scored(units, card.data.get("model-index") or [])
    wanted = {**eval_results(units), CARD: _with_scores(readme, card, units, main.repo)}
    operations: list[Operation] = [
        *(CommitOperationDelete(path) for path in there if path not in wanted),
        *(
            CommitOperationAdd(path, text.encode())
            for path, text in wanted.items()
            if text.encode() != there.get(path, b"")
        ),
    ]
    if operations:
        _send(main, operations)


def _send(main: Parent, operations: list[Operation]) -> None:
    with errors(main.repo):
        try:
            api().create_commit(
                main.repo, operations, commit_message="Scores", parent_commit=main.commit
            )
        except HfHubHTTPError as error:
            if error.response.status_code not in _REFUSED:
                raise
            _left(main, _REFUSED[error.response.status_code])
        except ValueError as error:
            # The client asks the Hub about the card's metadata, which others may have written.
            _left(main, " ".join(str(error).split())[:200])


def _there(folder: Path) -> dict[str, bytes]:
    """Path → content of the card and of our results, as main has them."""
    paths = [folder / CARD, *sorted((folder / EVAL_RESULTS).glob(f"{OURS}*.yaml"))]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


def _with_scores(readme: str, card: RepoCard, units: list[Unit], repo: str) -> str:
    """The README.md with these scores; nothing else of it changes."""
    text, before = card.text, card.data.get("model-index") or []
    head = readme[: len(readme) - len(text)]
    after = model_index(before, units, repo.split("/")[-1])
    if after != before:
        card.data["model-index"] = after or None
        head = str(card)[: -len(text) or None]
    return head + with_table(text, units)

"""Unfinished work in the folder of a stage: whose it is, what is left over, what may be deleted."""

import json
from pathlib import Path

import pytest
from tests.recipe.test_identity import of
from tests.recipe.test_reading import load

from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.session import MissingError
from moxin_recipes.ladder import state as states
from moxin_recipes.ladder import status
from moxin_recipes.ladder.state import State
from moxin_recipes.recipe import resume
from moxin_recipes.recipe.identity import Identity
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError


def work(folder: Path, key: str, step: int, identity: Identity | None = None) -> Path:
    """A state folder with one sealed checkpoint."""
    checkpoint = resume.state_folder(folder, key) / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    seal = {"key": key, "seconds": 1.0, "files": {}}
    if identity:
        seal["values"] = identity.values
    (checkpoint / "moxin.json").write_text(json.dumps(seal))
    return checkpoint


def test_work_of_today_and_of_the_first_form_is_no_leftover(tmp_path: Path) -> None:
    now = of(tmp_path)
    work(tmp_path, now.key, 10, now)
    work(tmp_path, now.old_key, 20)
    other = of(tmp_path, learning_rate=1e-5)
    stays = work(tmp_path, other.key, 30, other)
    (left,) = resume.leftovers(tmp_path, now)
    assert (left.folder, left.checkpoint) == (stays.parent, stays)
    assert left.bytes == (stays / "moxin.json").stat().st_size
    resume.remove(left)
    assert len(list(tmp_path.glob("state-*"))) == 2


def test_work_of_the_first_form_is_taken_over_once(tmp_path: Path) -> None:
    now = of(tmp_path)
    work(tmp_path, now.old_key, 20)
    assert resume.adopt(tmp_path, now) == resume.state_folder(tmp_path, now.key)
    assert [path.name for path in resume.checkpoints(resume.adopt(tmp_path, now))] == [
        "checkpoint-20"
    ]
    assert not resume.state_folder(tmp_path, now.old_key).exists()


def test_each_other_work_is_told_of_in_one_line(tmp_path: Path) -> None:
    now = of(tmp_path)
    other = of(tmp_path, learning_rate=1e-5, ddp_timeout=7)
    named, unnamed = work(tmp_path, other.key, 30, other), work(tmp_path, "0123456789abcdef", 5)
    (tmp_path / "state-empty").mkdir()
    lines = sorted(resume.starts_anew(now, tmp_path))
    assert (
        f"`learning_rate` 1e-05 → default; the checkpoint from before stays in {named}" in lines[0]
    )
    assert "ddp_timeout" not in lines[0]
    assert "under other values, which it does not name; the checkpoint" in lines[1]
    assert str(unnamed) in lines[1]
    assert len(lines) == 2


def test_work_of_a_running_stage_is_not_deleted(tmp_path: Path) -> None:
    import subprocess
    import sys

    work(tmp_path, "0123456789abcdef", 5)
    code = (
        "import sys; from pathlib import Path; from moxin_recipes.recipe import resume\n"
        "held = resume.lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        (left,) = resume.leftovers(tmp_path, of(tmp_path))
        with pytest.raises(RecipeError, match="another process runs this stage"):
            resume.remove(left)
        assert left.folder.exists()
        other.communicate()


def test_while_an_input_is_missing_nothing_is_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(reference: object) -> None:
        raise MissingError("no such repository")

    monkeypatch.setattr(states.pull, "resolve", missing)
    recipe: Recipe = load(tmp_path, output_dir=str(tmp_path))
    work(tmp_path, "0123456789abcdef", 5)
    waiting = states.state(recipe, Launcher())
    assert waiting == State(recipe, None)
    assert status.leftovers(waiting) == []


def test_a_library_value_of_a_wrong_type_is_one_line_in_status_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = Parent("model_name_or_path", "model", "a/b", "main", "0" * 40, "p")
    monkeypatch.setattr(states.pull, "resolve", lambda _: pinned)
    for wrong in ({"per_device_train_batch_size": "x"}, {"use_peft": True, "lora_dropout": "x"}):
        with pytest.raises(RecipeError, match="`moxin check` names it"):
            states.state(load(tmp_path, **wrong), Launcher())

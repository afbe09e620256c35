"""No recipe asks for more positions than its model has; a ladder knows those of its own models."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import ROOT

from moxin_recipes.hub import configs, pull
from moxin_recipes.hub.session import HubError, MissingError
from moxin_recipes.ladder import launching, lengths, order
from moxin_recipes.recipe import door
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

RECIPES = ROOT / "recipes"
FOLDERS = sorted({path.parent for path in RECIPES.glob("*/[0-9]*.yaml")})


@pytest.fixture
def empty_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(reference: Any) -> None:
        raise MissingError(reference.repo)

    monkeypatch.setattr(pull, "resolve", missing)


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ('{"max_position_embeddings": 64}', 64),
        ('{"n_positions": 8}', 8),
        ('{"text_config": {"max_position_embeddings": 32}}', 32),
        ('{"max_position_embeddings": null}', None),
        (None, None),
    ],
)
def test_what_a_configuration_says(
    monkeypatch: pytest.MonkeyPatch, text: str | None, positions: int | None
) -> None:
    monkeypatch.setattr(configs, "read_text", lambda *_: text)
    parent = pull.Parent("model_name_or_path", "model", "a/b", "main", "c" * 40, "p")
    assert configs.positions(parent) == positions
    for broken in ("{", "[1]", '"text"'):
        monkeypatch.setattr(configs, "read_text", lambda *_, broken=broken: broken)
        with pytest.raises(HubError, match=r"`model_name_or_path`: a/b@c.*config\.json is no conf"):
            configs.positions(parent)


def proven(recipes: list[Recipe[Any]]) -> None:
    filled = {}
    for recipe in recipes:
        launcher = launching.launcher_of(recipe, launching.file_of(recipe))
        filled[recipe.name] = door.check(recipe, launcher, on_hardware=False)
    lengths.check(recipes, filled)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.usefixtures("empty_hub")
def test_every_ladder_of_ours_fits_its_models(folder: Path) -> None:
    proven(order.read(folder))


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("20-pretrain-2k", ["--context_length", "2048"], "`context_length`: 2,048 tokens, but"),
        ("21-pretrain-4k", ["--eval_context_length", "1025"], "`eval_context_length`: 1,025"),
        ("30-sft", ["--max_length", "4096"], "`max_length`: 4,096 tokens, but moxin-nano-base@"),
        ("31-dpo", ["--max_length", "1025"], "`max_length`: 1,025 tokens, but moxin-nano-sft@sft"),
        (
            "42-grpo",
            ["--max_completion_length", "961"],
            "`max_prompt_length` + `max_completion_length`: 1,025 tokens, but moxin-nano-cot@",
        ),
        ("30-sft", ["--eval_max_new_tokens", "5000"], "`eval_max_new_tokens`: 5,000 tokens"),
    ],
)
@pytest.mark.usefixtures("empty_hub")
def test_a_ladder_knows_the_positions_of_its_own_models(
    name: str, words: list[str], message: str
) -> None:
    paths = sorted((RECIPES / "moxin-nano").glob("[0-9]*.yaml"))
    with pytest.raises(RecipeError) as caught:
        proven([read(path, words if path.stem == name else None) for path in paths])
    assert message in str(caught.value)
    assert "has 1,024 positions (`max_position_embeddings`)" in str(caught.value)
    assert f"{name}.yaml: " in str(caught.value)

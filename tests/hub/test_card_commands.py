"""What a card and a manifest say of a launch: its flags, its launcher, and what was installed."""

import importlib.metadata
import os
import shlex
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT
from tests.warm import launcher_environment

from moxin_recipes.hub import cards
from moxin_recipes.hub import manifest as manifests
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read

RECIPE = ROOT / "recipes" / "moxin-nano" / "10-init.yaml"


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"seed": 7, "hub_model_id": "x"},
        {"seed": -1, "prompt_suffix": " Think.\n'So', \"then\" # $HOME", "eval_split": "7"},
        {"a": None, "b": True, "c": 1e-5, "d": [1, "x: y", []], "e": {"k": [0.5]}, "f": ""},
        {"a": "--b", "c": "-1", "d": "ü\tv", "e": "a: b", "f": "~", "g": "1e3"},
    ],
)
def test_flags_are_read_as_they_are_written(flags: dict[str, Any]) -> None:
    assert read(RECIPE, shlex.split(cards.flags(flags))).flags == flags


def test_flags_are_apart_from_the_file() -> None:
    recipe = read(RECIPE, ["--seed", "7", "--hub_model_id=x"])
    assert recipe.flags == {"seed": 7, "hub_model_id": "x"}
    assert recipe.values["seed"] == 7
    assert recipe.values["stage"] == "init"


@pytest.mark.parametrize("name", sorted(p.name for p in ROOT.glob("accelerate_configs/*.yaml")))
def test_the_content_of_a_launchers_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / "accelerate_configs" / name
    added, processes = launcher_environment(file, "moxin_recipes.stages.init")
    monkeypatch.setattr(os, "environ", {**os.environ, **added, "WORLD_SIZE": str(processes)})
    wanted = yaml.safe_load(file.read_text())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes // wanted.get("num_machines", 1)))
    content = Launcher.of_environment().content(on_cpu=wanted["use_cpu"])
    for section in ("fsdp_config", "parallelism_config"):
        told = content.pop(section, {})
        assert {key: told.get(key) for key in wanted.get(section, {})} == wanted.get(section, {})
    assert {key: wanted[key] for key in content} == content


def test_every_distribution_by_name_and_version() -> None:
    found = manifests.installed()
    for name in ("torch", "transformers", "huggingface-hub", "moxin-recipes"):
        assert found[name] == importlib.metadata.version(name)
    assert len(found) > 50
    assert list(found) == sorted(found)


def test_the_machine() -> None:
    import torch

    told = manifests.hardware(3)
    assert told["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert told["processes"] == 3
    assert told["cpu"] is None or told["cpu"].strip()

"""Every command of every page, as it stands there, by somebody who has run the ladder."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT, Workplace, serving
from tests.docs import pages
from tests.docs.rules import planned, rule_of, words

from moxin_recipes.recipe.strict import RecipeError

# What pages take for granted beside the ladder, by its name in them.
FILES = {
    "completions.jsonl": json.dumps({"completion": "1+1</think>\\boxed{2}", "answer": "2"}),
    "train.jsonl": json.dumps({"question": "1+1?", "answer": "#### 2"}),
    "links.txt": "local/moxin-nano-release",
}
# Benchmarks in the columns of the real ones: id, configs, the row of each split.
CHOICES = {"text": ["2", "3"], "label": ["A", "B"]}
ARC = {"id": "q1", "question": "1+1?", "choices": CHOICES, "answerKey": "A"}
GSM = {"question": "1+1?", "answer": "so\n#### 2"}
BENCHMARKS = [
    ("allenai/ai2_arc", ["ARC-Easy", "ARC-Challenge"], ARC),
    ("openai/gsm8k", ["main"], GSM),
]
SPLITS = [{"split": name, "path": "row.jsonl"} for name in ("train", "validation", "test")]
OWN_DATA = "docs/own-data.md"  # with other texts than nano's: tests/test_own_data.py


@pytest.fixture(scope="module")
def place(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A folder as the repository's, where moxin-nano is small, and done on a Hub of its own."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("accelerate_configs", "recipes"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(finished.ladder, folder / "recipes" / "moxin-nano", dirs_exist_ok=True)
    hub = folder / ".moxin" / "hub"
    shutil.copytree(finished.home / "hub", hub, ignore=shutil.ignore_patterns("port"))
    for name, text in FILES.items():
        (folder / name).write_text(text + "\n")
    made = Workplace(folder / ".moxin", folder / "recipes" / "moxin-nano")
    with serving(made), made.warmed(folder) as warm:
        for repo, configs, row in BENCHMARKS:
            (folder / repo).mkdir(parents=True)
            (folder / repo / "row.jsonl").write_text(json.dumps(row) + "\n")
            card = {"configs": [{"config_name": name, "data_files": SPLITS} for name in configs]}
            (folder / repo / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
            _add(warm, folder / repo, "--as", repo, "--type", "dataset")
        disk = ("--root", str(folder / "disk" / "hub"))
        _add(made, folder / "train.jsonl", "--as", "HuggingFaceTB/SmolLM2-135M", *disk)
        yield warm


def _add(place: Workplace, path: Path, *how: str) -> None:
    done = place.moxin("hub", "add", str(path), *how)
    assert done.returncode == 0, done.stderr


def run(place: Workplace, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in the folder; what asks the Hub alone, or needs a shell, starts anew."""
    folder, name = place.home.parent, words(command)[0]
    variables = place.environment(HF_TOKEN="", HOME=str(folder))
    if name == "accelerate" or (name == "moxin" and words(command)[1] != "hub"):
        script = place.command()[0] if name == "moxin" else "accelerate.commands.accelerate_cli"
        assert place.warm
        return place.warm.completed([script, *words(command)[1:]], variables)
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    shell = ["bash", "-euc", command + ('\n: "$HF_ENDPOINT"' if name == "eval" else "")]
    return subprocess.run(shell, env=variables, cwd=folder, capture_output=True, text=True)


def first_in(page: str) -> list[str]:
    """The commands of a page that no page before it has."""
    before = {
        tuple(words(one))
        for other in pages.PAGES[: pages.PAGES.index(page)]
        for one in pages.commands(other)
    }
    return [one for one in pages.commands(page) if tuple(words(one)) not in before]


@pytest.mark.parametrize(
    "page", [page for page in pages.PAGES if page != OWN_DATA and first_in(page)]
)
def test_every_command_of_the_page(
    page: str, place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for command in first_in(page):
        if rule := rule_of(command):
            rule.prove(command, tmp_path)
        else:
            done = run(place, command)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "pip install '.[nothing]'",
        "sbatch --nodes 2 slurm/launch.slurm recipes/moxin-7b/40-distill.yaml",
        "sbatch --nodes 1 slurm/launch.slurm recipes/moxin-7b/31-dpo.yaml --learning_rat 4e-7",
        "accelerate launch --config_file accelerate_configs/fsdp.yaml"
        " -m moxin_recipes.stages.sft --config recipes/moxin-7b/31-dpo.yaml",
        "moxin run recipes/moxin-7b --only 30-sftt",
        "moxin run recipes/moxin-7b --once",
        "moxin check recipes/moxin-8b --online",
        "moxin verify moxin-7b-releases",
        "moxin plan recipes/moxin-7b --gpu h1 --nodes 8 --gpus-per-node 8",
    ],
)
def test_a_wrong_command_is_found(command: str, tmp_path: Path) -> None:
    rule = rule_of(command)
    assert rule
    with pytest.raises((AssertionError, RecipeError, SystemExit)):
        rule.prove(command, tmp_path)


def test_a_command_of_no_rule_is_run(place: Workplace) -> None:
    assert rule_of("moxin stats recipes/moxin-nano") is None
    assert run(place, "moxin stats recipes/moxin-nano").returncode == 2
    assert run(place, "moxin chat moxin-nano-instruct@gone hello").returncode == 1
    assert run(place, 'eval "$(moxin hub environment)"').returncode != 0


def test_own_texts_are_a_test_of_their_own() -> None:
    assert "own-data.md" in (ROOT / "tests" / "test_own_data.py").read_text(encoding="utf-8")


def test_the_plan_on_its_page_is_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command, table = pages.commands("docs/plan.md")[0], _table()
    assert _without_memory(table) == _without_memory(planned(command))


@pytest.mark.soak
def test_its_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert _table() == planned(pages.commands("docs/plan.md")[0], counted=True)


def _table() -> str:
    [table] = [text for language, text in pages.blocks("docs/plan.md") if language == "text"]
    return table


def _without_memory(table: str) -> list[str]:
    """The lines without the last column."""
    return [re.sub(r"(?<=[│┃])[^│┃]*[│┃]$", "", line) for line in table.splitlines()]

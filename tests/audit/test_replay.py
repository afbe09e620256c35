"""`moxin replay`: stages made again from their manifests alone, in a fresh folder."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import ROOT, Workplace
from tests.test_ladder import python, status

from moxin_recipes.audit import difference


@pytest.mark.parametrize(
    "result",
    [
        "moxin-nano-instruct@dpo",
        *(
            pytest.param(result, marks=pytest.mark.soak)
            for result in (
                "moxin-nano-sft@sft",
                "moxin-nano-reasoning@grpo",
                "moxin-nano-chat@data",
            )
        ),
    ],
)
def test_a_trained_model_is_made_again_bit_by_bit(
    finished: Workplace, tmp_path: Path, result: str
) -> None:
    before = status(finished)
    done = finished.moxin("replay", result, "--hub", "local", "--out", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"{result}: bit-equal"
    assert status(finished) == before
    pins = json.loads((tmp_path / "again" / "pins.json").read_text())
    assert bool(pins) == (not result.endswith("@data"))


def test_other_instructions_are_named(finished: Workplace, tmp_path: Path) -> None:
    here = torch.backends.cpu.get_cpu_capability()
    done = finished.cold().moxin(
        *("replay", "moxin-nano-instruct@dpo", "--hub", "local", "--out", str(tmp_path / "again")),
        ATEN_CPU_CAPABILITY="default",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, last = done.stdout.splitlines()
    if here == "DEFAULT":
        assert last.endswith(": bit-equal")
    else:
        assert last in ("moxin-nano-instruct@dpo: within tolerance",)
        assert f"hardware instructions: {here} → DEFAULT" in lines
        assert re.fullmatch(
            r"model.safetensors: differs, by \d.*e-\d\d of its tensor's largest weight", lines[0]
        )


FORGET = "from huggingface_hub import HfApi; HfApi().delete_repo('local/tried-patched')"
FINISH = '    run.finish({"hub_model_id": (run.folder, facts)})'
MORE = """    from moxin_recipes.models import untracked
    (run.folder / "untracked.txt").write_text(untracked.SEEN)
"""


def test_a_dirty_checkout_is_replayed_from_its_patch(finished: Workplace, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    command = ["git", "clone", "--quiet", str(ROOT), str(clone)]
    subprocess.run(command, check=True)
    package = clone / "src" / "moxin_recipes"
    init = package / "stages" / "init.py"
    init.write_text(init.read_text().replace(FINISH, MORE + FINISH))
    (package / "models" / "untracked.py").write_text("SEEN = 'untracked'\n")
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--quiet"),
        *("--config_file", str(ROOT / "accelerate_configs" / "cpu.yaml")),
        *("-m", "moxin_recipes.stages.init", "--hub_model_id", "tried-patched"),
        *("--config", str(finished.ladder / "10-init.yaml")),
    ]
    variables = finished.environment(MOXIN_HUB="local", PYTHONPATH=str(clone / "src"))
    made = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-3000:]
    words = ("replay", "tried-patched@init", "--hub", "local", "--out", str(tmp_path / "again"))
    refused = finished.moxin(*words)
    assert refused.returncode == 1
    assert '+    (run.folder / "untracked.txt").write_text(untracked.SEEN)' in refused.stdout
    assert "+SEEN = 'untracked'" in refused.stdout
    assert "to run that code, give --trust-code ADDRESS@" in refused.stderr
    (pinned,) = re.findall(r"--trust-code ADDRESS@(\S+)", refused.stderr)
    assert re.fullmatch(r"[0-9a-f]{40}\+sha256:[0-9a-f]{64}", pinned)
    wrong = finished.moxin(*words, "--trust-code", f"{clone}@{pinned[:40]}")
    assert f"it must be ADDRESS@{pinned}" in wrong.stderr
    done = finished.moxin(*words, "--trust-code", f"{ROOT}@{pinned}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "tried-patched@init: bit-equal"
    assert (tmp_path / "again" / "result" / "untracked.txt").read_text() == "untracked"
    python(
        finished, "from huggingface_hub import HfApi; HfApi().delete_repo('local/tried-patched')"
    )


def test_a_score_is_made_again(finished: Workplace) -> None:
    done = finished.moxin(
        *("replay", "moxin-nano-cot@cot-sft", "--score", "longer_accuracy", "--hub", "local")
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.fullmatch(r".*: (\S+) pushed, \1 from its items, \1 now: the same", done.stdout[:-1])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("moxin-nano-none@x",), "no such repository"),
        (("moxin-nano-sft@sft", "--out", "."), "it is not empty; name another folder with --out"),
        (("moxin-nano-instruct@dpo", "--score", "x"), "has no score x with items of its own"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    finished: Workplace, words: tuple[str, ...], line: str
) -> None:
    done = finished.moxin("replay", *words, "--hub", "local")
    assert done.returncode == 1
    assert line in done.stderr.splitlines()[-1]


BEFORE = {
    "files": {"model.safetensors": {"sha256": "a"}, "config.json": {"sha256": "c"}},
    "hardware": {"instructions": "AVX512", "processes": 1},
    "installed": {"torch": "2"},
    "launcher": {"num_processes": 1},
}


def _folders(tmp_path: Path, apart: float) -> tuple[Path, Path]:
    weights = torch.linspace(-2, 2, 9)
    for name, tensor in (("one", weights), ("two", weights + apart)):
        (tmp_path / name).mkdir()
        save_file({"w": tensor}, tmp_path / name / "model.safetensors")
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.parametrize(
    ("change", "apart", "word"),
    [
        ({}, 0.0, "different"),  # other bytes, and nothing that explains them
        ({"hardware": {"instructions": "AVX2", "processes": 1}}, 1e-6, "within tolerance"),
        ({"hardware": {"instructions": "AVX512", "processes": 2}}, 1e-6, "within tolerance"),
        ({"installed": {"torch": "3"}}, 1e-6, "within tolerance"),
        ({"launcher": {"num_processes": 2}}, 1e-6, "within tolerance"),
        ({"installed": {"torch": "3"}}, 0.1, "different"),
        ({"installed": {"torch": "3"}}, float("nan"), "different"),
        ({"installed": {"torch": "3"}}, float("inf"), "different"),
        ({"installed": {"torch": "2", "iniconfig": "2"}}, 1e-6, "different"),
    ],
)
def test_a_verdict(tmp_path: Path, change: dict[str, object], apart: float, word: str) -> None:
    files = {**BEFORE["files"], "model.safetensors": {"sha256": "b"}}
    now = {**BEFORE, **change, "files": files}
    found = difference.verdict(BEFORE, now, _folders(tmp_path, apart))
    assert found.word == word
    explained = bool(change) and "iniconfig" not in str(change)
    assert ("→" in found.lines[-1]) == explained


@pytest.mark.parametrize(
    ("was", "now", "apart"),
    [
        (torch.ones(2), torch.ones(2, dtype=torch.bfloat16), None),
        (torch.tensor([2**40]), torch.tensor([2**40 + 1]), None),
        (torch.tensor([True]), torch.tensor([True]), 0.0),
        (torch.zeros(0), torch.zeros(0), 0.0),
        (torch.tensor([1e-4]), torch.tensor([-1e-4]), 2.0),  # beside large weights, too
        (torch.ones(2), torch.tensor([1.0, float("nan")]), float("inf")),
    ],
)
def test_weights_apart(
    tmp_path: Path, was: torch.Tensor, now: torch.Tensor, apart: float | None
) -> None:
    files = tmp_path / "was.safetensors", tmp_path / "now.safetensors"
    for file, tensor in zip(files, (was, now), strict=True):
        save_file({"a": torch.full((3,), 9.0), "b": tensor}, file)
    assert difference.largest(*files) == apart


def test_other_files_and_shapes_are_different(tmp_path: Path) -> None:
    folders = _folders(tmp_path, 0.0)
    other = {**BEFORE, "installed": {"torch": "3"}}
    assert difference.verdict(BEFORE, other, folders).word == "bit-equal"
    for files in (
        {"model.safetensors": {"sha256": "a"}},
        {**BEFORE["files"], "config.json": {"sha256": "d"}},
        {**BEFORE["files"], "more.json": {"sha256": "d"}},
    ):
        assert difference.verdict(BEFORE, {**other, "files": files}, folders).word == "different"
    save_file({"w": torch.zeros(3)}, folders[1] / "model.safetensors")
    files = {**BEFORE["files"], "model.safetensors": {"sha256": "b"}}
    found = difference.verdict(BEFORE, {**other, "files": files}, folders)
    assert (found.word, found.lines[0]) == ("different", "model.safetensors: differs")

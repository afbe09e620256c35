"""`moxin plan`: its arithmetic against published figures, its table, and what it refuses."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT

from moxin_recipes import cli
from moxin_recipes.plan import disk, hours, memory, plan, published
from moxin_recipes.plan.gpus import GPUS, find
from moxin_recipes.plan.plan import Machines, Planned
from moxin_recipes.plan.published import Run
from moxin_recipes.plan.tracked import Held
from moxin_recipes.plan.work import Work
from moxin_recipes.recipe.memory import Shape
from moxin_recipes.recipe.reading import read

H100 = GPUS["h100"]
CLUSTER = Machines(H100, 8, 8, mfu=0.4, price=2.0)
# From random weights, from a package, made deeper, a mean, tuned only, in stages, data alone.
LADDERS = ["moxin-nano-muon", "smollm2-135m", "smollm2-135m-expanded", "moxin-7b-expanded"]
LADDERS += ["moxin-7b-averaged", "moxin-7b-ii", "moxin-7b-grpo-staged", "moxin-7b-rebuild-stack"]


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory as a small constant, where a test is not about it."""
    monkeypatch.setattr(memory, "track", lambda *_: Held(1, 1, 1, 2**30))


def planned(ladder: str, machines: Machines = CLUSTER) -> dict[str, Planned]:
    return {one.stage: one for one in plan.plan(ROOT / "recipes" / ladder, machines)}


def moxin(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> str | int | None:
    """Runs the command in this process; what it exits with."""
    given = ["--gpu", "h100", "--nodes", "8", "--gpus-per-node", "8", *words]
    monkeypatch.setattr(sys, "argv", ["moxin", "plan", str(folder), *given])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.usefixtures("uncounted")
def test_two_trillion_tokens_are_what_they_are_in_the_papers_arithmetic() -> None:
    """6ND and attention: 9.94e22 FLOPs, and 69,800 hours of an H100 at 40 % of its peak."""
    stages = planned("moxin-7b")
    phases = [stages["20-pretrain-2k"], stages["21-pretrain-4k"]]
    assert sum(one.tokens or 0 for one in phases) == pytest.approx(2e12, rel=1e-6)
    assert sum(one.flops or 0 for one in phases) == pytest.approx(9.94e22, rel=0.02)
    assert sum(one.gpu_hours or 0 for one in phases) == pytest.approx(69_800, rel=0.02)
    assert sum(one.price or 0 for one in phases) == pytest.approx(2 * 69_800, rel=0.02)
    first = phases[0]
    assert (first.gpus, first.mfu) == (64, 0.4)
    head = (ROOT / "recipes/moxin-7b/20-pretrain-2k.yaml").read_text()
    supported = planned("moxin-7b", replace(CLUSTER, mfu=None))["20-pretrain-2k"]
    assert f"= {supported.hours:,.1f}, or" in head
    assert first.energy_kwh == pytest.approx(0.7 * (first.gpu_hours or 0))
    # docs/data.md: 690 core-hours, and 190 for the tokens
    assert stages["00-data"].core_hours == pytest.approx(690 + 190, rel=0.02)


@pytest.mark.usefixtures("uncounted")
def test_the_page_of_the_small_ladder_says_what_its_plan_says() -> None:
    page = (ROOT / "recipes/moxin-300m/README.md").read_text()
    machines = Machines(H100, 1, 8, mfu=0.25, price=2)
    stages = plan.plan(ROOT / "recipes/moxin-300m", machines)
    rows = [(f"`{one.stage}`", vars(one)) for one in stages]
    for name, row in [*rows, ("all that is counted", plan.total(stages))]:
        if row["price"] is None:
            assert f"| {name} |" not in page
            continue
        sums = f"{row['tokens'] / 1e9:.1f}B | {row['hours']:.1f} | {row['gpu_hours']:.1f}"
        assert f"| {name} | {sums} | ${row['price']:.0f} |" in page


@pytest.mark.usefixtures("uncounted")
def test_the_page_on_reproducing_has_the_plans_hours_and_prices() -> None:
    page = (ROOT / "docs" / "reproduce.md").read_text()
    priced = plan.plan(ROOT / "recipes" / "moxin-7b", replace(CLUSTER, mfu=None))
    for one in priced:
        if one.gpus:
            (row,) = [row for row in page.splitlines() if f"moxin-7b/{one.stage}.yaml" in row]
            hours_, gpu_hours, price = (cell.strip() for cell in row.split("|")[4:7])
            assert hours_.removeprefix("about ") in (f"{one.hours:,.0f}", f"{one.hours:.1f}")
            assert (gpu_hours, price) == (f"{one.gpu_hours:,.0f}", f"${one.price:,.0f}")
    sums = plan.total(priced)
    assert f"| {sums['hours']:,.0f} | {sums['gpu_hours']:,.0f} | ${sums['price']:,.0f} |" in page


@pytest.mark.usefixtures("uncounted")
def test_what_post_training_reads() -> None:
    stages = planned("moxin-7b")
    assert stages["30-sft"].tokens == pytest.approx(2 * 2_914_250_827 / 4)
    assert stages["31-dpo"].tokens == pytest.approx(1_680_549_462 / 4)
    grpo = stages["42-grpo"]
    assert grpo.tokens == 630 * 512 * (1024 + 16384)
    assert (stages["31-dpo"].gpus, grpo.gpus, stages["41-cot-sft"].gpus) == (8, 8, 64)
    assert stages["40-distill"].hours is stages["50-evaluate"].hours is None
    cot = stages["41-cot-sft"]
    assert any("OpenR1-Math-220k: 187,466 rows" in sentence for sentence in cot.assumed)


def test_the_share_of_the_peak_is_torchtitans() -> None:
    moxin = Shape(32000, 4096, 14336, 36, 32, 8, tied=False)
    selective = Run(moxin, 2048, checkpointing=True, selective=True, compiled=False)
    share, words = published.mfu(H100, 64, selective)
    # 5,605 tokens/s × 5.15e10 FLOPs / 989e12; theirs compute 3.30 forward passes, these 3.35
    assert share == pytest.approx(5605 * 5.15e10 / 989e12 * 3.297 / 3.346, rel=0.01)
    assert "128 × H100" in words
    assert "5,605 tokens/s, which are 29.2 %, × 3.30 / 3.35 for selective checkpointing" in words
    full = replace(selective, selective=False)
    none = replace(full, checkpointing=False)
    assert (round(full.passes, 2), none.passes) == (3.73, 3)
    assert published.mfu(H100, 64, full)[0] == pytest.approx(share * selective.passes / full.passes)
    assert published.mfu(H100, 64, none)[0] == pytest.approx(share * selective.passes / 3)
    compiled = replace(selective, compiled=True)
    assert published.mfu(H100, 64, compiled)[0] == pytest.approx(share * 6514 / 5605)
    for gpus, tokens in ((1, 5762), (8, 5762), (9, 5605), (2000, 5605)):
        assert f"{tokens:,} tokens/s" in published.mfu(H100, gpus, selective)[1]
    assert "64 × A100" in published.mfu(find("A100"), 8, compiled)[1]
    assert "8 × H100" in published.mfu(GPUS["l40s"], 8, selective)[1]


def test_sampling_waits_for_weights_and_cache() -> None:
    shape = Shape(32000, 4096, 14336, 36, 32, 8, tied=False)
    work = Work(None, generations=10, completions=512, prompt=1024, completion=16384)

    class Args:
        per_device_train_batch_size = 1
        use_vllm = True
        vllm_tensor_parallel_size = 1
        vllm_gpu_memory_utilization = 0.5

    weights, cached = 2 * 8_114_180_096, 147_456 * (1024 + 16384 / 2)
    flight = (40e9 - weights) // cached
    moment = (weights + flight * cached) / 3.35e12
    expected = 10 * 16384 * 64 / flight * moment / 3600
    assert hours.of_generation(shape, work, H100, 8, Args) == pytest.approx(expected)
    Args.use_vllm = False
    slow = 10 * 16384 * 64 * (weights + cached) / 3.35e12 / 3600
    assert hours.of_generation(shape, work, H100, 8, Args) == pytest.approx(slow)


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("ladder", LADDERS)
def test_every_ladder_is_planned(ladder: str) -> None:
    for one in planned(ladder).values():
        known = one.flops is not None and one.hours is not None and one.fits is not None
        rows = any("are not known" in sentence for sentence in one.assumed)
        assert known or rows or not one.gpus, (one.stage, one.assumed)


@pytest.mark.usefixtures("uncounted")
def test_json_and_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ROOT / "recipes" / "moxin-7b"
    assert moxin(monkeypatch, folder, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    names = [stage["stage"] for stage in printed["stages"]]
    assert (names[0], len(names)) == ("00-data", 12)
    phase = printed["stages"][2]
    keys = {"stage", "tokens", "flops", "gpu_hours", "price", "peak_gib_per_gpu", "energy_kwh"}
    assert keys <= set(phase)
    assert phase["price"] is None  # nobody gave one
    assert phase["peak_gib_per_gpu"] == pytest.approx(1, abs=1e-6)
    assert phase["fits"] is True
    trained = [stage["tokens"] or 0 for stage in printed["stages"] if stage["gpus"]]
    assert printed["total"]["tokens"] == pytest.approx(sum(trained))
    assert printed["stages"][0]["tokens"] == pytest.approx(1.99e12, rel=0.01)
    known = [stage["gpu_hours"] for stage in printed["stages"] if stage["gpu_hours"]]
    assert printed["total"]["gpu_hours"] == pytest.approx(sum(known))
    assert moxin(monkeypatch, folder, "--price", "2") == 0
    table = capsys.readouterr().out
    line = next(line for line in table.splitlines() if "20-pretrain-2k" in line)
    assert re.search(r"64 │ +1\.6T │ +7\.95e\+22 │ +1,21\d", line)
    assert "30-sft: allenai/tulu-3-sft-mixture: 939,343 rows" in table
    assert "H100 SXM: glennklockwood.com" in table


def copied(tmp_path: Path, names: list[str], **keys: Any) -> Path:
    """Recipes of moxin-7b in a folder of their own, the last one with other keys."""
    folder = tmp_path / "recipes" / "large"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "accelerate_configs", tmp_path / "accelerate_configs")
    for name in names:
        shutil.copy(ROOT / "recipes" / "moxin-7b" / f"{name}.yaml", folder)
    last = folder / f"{names[-1]}.yaml"
    last.write_text(yaml.safe_dump({**yaml.safe_load(last.read_text()), **keys}))
    return folder


def test_a_micro_batch_that_does_not_fit_names_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted on the model of 8.1B itself: 8 × 2,048 tokens without checkpointing."""
    file = tmp_path / "once.yaml"
    content = yaml.safe_load((ROOT / "accelerate_configs" / "fsdp_multinode.yaml").read_text())
    content["fsdp_config"]["fsdp_activation_checkpointing"] = False
    file.write_text(yaml.safe_dump(content))
    names = ["00-data", "10-init", "20-pretrain-2k"]
    given = {"selective_checkpointing": False, "accelerate_config": str(file)}
    error = str(moxin(monkeypatch, copied(tmp_path, names, **given)))
    assert re.search(
        r"^error: .*large/20-pretrain-2k\.yaml: 11\d\.\d GiB a GPU in a training step and 11\.\d "
        r"of margin do not fit into 74\.5 GiB; lower `per_device_train_batch_size` \(8\), or set "
        r"`gradient_checkpointing: true`, with FSDP `fsdp_activation_checkpointing` in the file of "
        r"`accelerate_config`, or share the model among more GPUs",
        error,
    ), error
    assert "!" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gpu", "h1000"], "`--gpu`: there is no h1000; did you mean `h100`? (there are h100, "),
        (["--mfu", "40"], "`--mfu` is a share of the peak: .4, not 40"),
        (["--nodes", "0"], "`--nodes` must be at least 1"),
        (["--price", "-1"], "`--price` must be at least 0, not -1"),
        (["--gpus-per-node", "7"], "`global_batch_size` 1024 is not a multiple of"),
    ],
)
@pytest.mark.usefixtures("uncounted")
def test_a_wrong_wish_is_one_line(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    error = str(moxin(monkeypatch, ROOT / "recipes" / "moxin-7b", *words))
    assert error.startswith("error: ")
    assert expected in error
    assert "\n" not in error


def test_states_of_the_training_are_counted_on_the_hub() -> None:
    """2 branches of 880 steps, saved every 400: two moments of four bytes a parameter each."""
    shape = Shape(128, 16, 32, 2, 2, 1, False)
    args = SimpleNamespace(save_steps=400, save_total_limit=2)
    path = ROOT / "recipes" / "moxin-nano" / "20-pretrain-2k.yaml"

    def on_hub(*flags: str, trained: int | None = None) -> float:
        recipe = read(path, list(flags))
        return disk.of_stage(recipe, shape, Work(None, steps=880), args, trained, 1)[1]

    states = ("--push_training_state", "true")
    assert on_hub() == 3 * 4 * shape.parameters
    assert on_hub(*states) == on_hub() + 2 * 8 * shape.parameters
    assert on_hub(*states, trained=10) == on_hub(trained=10) + 2 * 8 * 10

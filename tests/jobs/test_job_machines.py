"""The machines of Jobs: what a stage uses of one, and what it costs."""

import pytest
from tests.conftest import ROOT

from moxin_recipes.jobs import cost, flavor
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.reading import read

CONFIGS = ROOT / "accelerate_configs"


@pytest.mark.usefixtures("hub")
def test_a_machine_and_a_launcher_have_to_fit() -> None:
    eight, one, none = (flavor.find(name) for name in ("a100x8", "a100-large", "cpu-basic"))
    assert (eight.gpus, eight.price, one.gpu, none.gpus) == (8, 18.0, eight.gpu, 0)
    assert eight.gpu is not None
    assert flavor.find("t4-small").gpu is None  # no figures of it: no hours
    recipe = read(ROOT / "recipes" / "moxin-7b" / "31-dpo.yaml")  # fsdp.yaml
    for machine, missing in (
        (eight, None),
        (one, "fsdp.yaml is for several GPUs"),
        (none, "8 GPUs"),
    ):
        file = machine.file_of(recipe, None)
        said = machine.missing(file, Launcher.of_file(file))
        assert (said is None) if missing is None else missing in str(said)


@pytest.mark.usefixtures("hub")
def test_a_stage_uses_all_gpus_and_stays_the_same_result() -> None:
    machine = flavor.find("a100x8")
    recipe = read(ROOT / "recipes" / "moxin-7b" / "30-sft.yaml")
    for given, processes in (("fsdp_multinode", 8), ("hsdp_multinode", 8), ("ddp", 8), ("cpu", 1)):
        before = Launcher.of_file(CONFIGS / f"{given}.yaml")
        file = machine.file_of(recipe, CONFIGS / f"{given}.yaml")
        made = Launcher.of_file(file)
        assert (made.processes, made.machines, made.on_cpu) == (processes, 1, False)
        assert (made.mixed_precision, made.sharded) == (before.mixed_precision, before.sharded)
        assert "parallelism_config" not in content_of(file)
    one = flavor.find("a100-large").file_of(recipe, CONFIGS / "ddp.yaml")
    assert Launcher.of_file(one) == Launcher()


@pytest.mark.usefixtures("hub")
def test_hours_and_prices_are_the_plans_and_the_hubs(capsys: pytest.CaptureFixture[str]) -> None:
    machine, folder = flavor.find("a100x8"), ROOT / "recipes" / "moxin-7b"
    files = {
        name: machine.file_of(read(folder / f"{name}.yaml"), None)
        for name in ("31-dpo", "60-release")
    }
    dpo, release = cost.estimates(folder, machine, files, None)
    assert dpo.hours is not None
    assert 5 < dpo.hours < 20
    assert 2 * dpo.hours + 1 <= dpo.timeout < 2 * dpo.hours + 2
    assert (release.hours, release.timeout) == (None, 6.0)
    cost.show([dpo, release], machine)
    said = capsys.readouterr().out
    assert "$18.00 an hour" in said
    assert f"{18 * dpo.hours:,.2f}" in said
    assert f"{18 * (dpo.timeout + 6):,.2f}" in said

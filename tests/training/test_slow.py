"""What one rank does for long, the others do not wait for in a collective: its limit ends a job."""

from pathlib import Path

from tests.conftest import ROOT
from tests.training.pretraining import Pretraining


def test_nobody_waits_in_a_collective_for_a_disk_or_a_network(
    pretraining: Pretraining, tmp_path: Path
) -> None:
    recipe = pretraining.recipe("slow", max_steps=30)
    file, log = ROOT / "accelerate_configs" / "ddp.yaml", pretraining.place.home / "slow"
    started = pretraining.start(recipe, file)
    state = pretraining.folder("slow")
    while not list(state.glob("state-*/checkpoint-10/moxin.json")):
        assert started[0].running(), started[0].log.read_text()[-3000:]
    for process in started:
        process.kill()
    words = [str(tmp_path), "--config", str(recipe)]
    said = pretraining.warm.run(file, "tests.training.slow", words, log)
    assert "going on from" in said
    assert "pushed local/slow" in said
    for work in ("the digests of checkpoint-10", "the seal of the checkpoint before step 30"):
        assert f"the other waited for {work}" in said
    assert "the other waited for the model in its folder, the checkpoints on the Hub" in said
    assert "the other waited for nothing" in said  # it had ended when the model was pushed

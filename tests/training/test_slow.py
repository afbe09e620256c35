"""What one rank does for long, the others do not wait for in a collective: its limit ends a job."""

from tests.conftest import ROOT
from tests.training.pretraining import Pretraining

LIMIT, SECONDS = 3, 4


def test_a_slow_disk_and_a_slow_network_pass_no_limit(pretraining: Pretraining) -> None:
    recipe = pretraining.recipe("slow", max_steps=30)
    file, log = ROOT / "accelerate_configs" / "ddp.yaml", pretraining.place.home / "slow"
    started = pretraining.start(recipe, file)
    state = pretraining.folder("slow")
    while not list(state.glob("state-*/checkpoint-10/moxin.json")):
        assert started[0].running(), started[0].log.read_text()[-3000:]
    for process in started:
        process.kill()
    words = [str(LIMIT), str(SECONDS), "--config", str(recipe)]
    said = pretraining.warm.run(file, "tests.training.slow", words, log)
    assert "going on from" in said
    assert "pushed local/slow" in said

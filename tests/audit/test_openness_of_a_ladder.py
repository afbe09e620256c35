"""The openness of a ladder's own release, by the command that users type; it changes no Hub."""

from pathlib import Path

import yaml
from tests.conftest import Workplace

CLASS_III = {
    "Model architecture": "declared only: local/moxin-nano-release@",
    "Model parameters (Final)": "licence not accepted: ",
    "Model card": "licence not accepted: ",
    "Data card": "licence not accepted: ",
    "Technical report": "missing",
    "Evaluation results": "licence not accepted: ",
}
THERE = [
    *("Model parameters (Final)", "Model parameters (Intermediate)", "Datasets"),
    *("Evaluation data", "Model metadata", "Sample model outputs"),
    *("Model card", "Data card", "Evaluation results"),
]


def test_what_a_ladders_release_has_and_lacks(finished: Workplace) -> None:
    done = finished.moxin("check", "--openness", "moxin-nano-release", "--hub", "local")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    at = said.index("missing for Class III - Open Model:")
    assert said[at - 1] == "class: none"
    lacking = dict(line.strip().split(": ", 1) for line in said[at + 1 : -1])
    assert list(lacking) == list(CLASS_III)
    for name, reason in CLASS_III.items():
        assert lacking[name].startswith(reason)
    assert "PSF-2.0 (the source " in lacking["Model parameters (Final)"]  # Python's own texts
    private = next(line for line in said if line.startswith("private, so nobody else sees it: "))
    assert "local/moxin-nano-base, " in private
    assert "local/moxin-nano-release" in private
    written = Path(said[-1].removeprefix("the model openness tool's file: "))
    components = yaml.safe_load(written.read_text())["release"]["components"]
    assert [one["name"] for one in components] == THERE

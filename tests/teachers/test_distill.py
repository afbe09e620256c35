"""The distill stage as users run it: killed in the middle, and on real servers and models."""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from datasets import Dataset
from tests.conftest import ROOT, Workplace, serving
from tests.teachers import test_traces
from tests.test_ladder import status
from tests.tiny import save_tiny_model

from moxin_recipes.recipe.keys.distill import DistillKeys
from moxin_recipes.stages import distill
from moxin_recipes.teachers import ask, verified


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    raise AssertionError("the server ended")


def rows(folder: Path, config: str) -> Dataset:
    return Dataset.from_parquet(str(folder / "hub_dataset_id" / config / "train.parquet"))


def test_killed_and_started_again_it_asks_only_for_the_rest(
    finished: Workplace, tmp_path: Path
) -> None:
    before = status(finished)
    port, asked, out = free_port(), tmp_path / "asked", tmp_path / "out"
    server = subprocess.Popen(
        [sys.executable, "tests/faulty_endpoint.py", str(port), str(asked), "--faults"], cwd=ROOT
    )
    wait_for(port, server)
    options = {
        **{"teacher": "endpoint", "base_url": f"http://127.0.0.1:{port}/v1"},
        **{"teacher_model": "adder", "samples": "1", "concurrency": "16"},
        **{"output_dir": str(out), "push_to_hub": "false"},
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    assert finished.warm
    killed = finished.warm.begin(
        [
            "moxin_recipes.stages.distill",
            "--config",
            str(finished.ladder / "40-distill.yaml"),
            *words,
        ],
        finished.environment(MOXIN_HUB="local"),
    )
    while not any(len(path.read_bytes()) > 5000 for path in out.glob("samples-*.jsonl")):
        assert killed.running(), "it ended before it could be killed"
        time.sleep(0.01)
    for process in psutil.Process(killed.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    killed.kill()
    done = finished.launch("distill", "40-distill", *words)
    server.terminate()
    server.wait()
    assert done.returncode == 0, done.stderr[-3000:]
    assert " samples are here, " in done.stderr
    rates = rows(out, "pass_rates")
    assert len(set(rates["problem"])) == len(rates) == 120
    assert set(rates["samples"]) == {1}
    assert len(rows(out, "kept")) == 120
    answered_seeds = Counter(
        row["seed"]
        for row in map(json.loads, asked.read_text().splitlines())
        if row["did"] in ("", "slow")
    )
    assert len(answered_seeds) == 120
    # Only those that were on their way at the kill were asked for twice.
    assert sum(answered_seeds.values()) - len(answered_seeds) <= 16
    assert status(finished) == before


def test_the_7b_recipe_on_rows_of_the_real_layouts(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "home", ROOT / "recipes" / "moxin-7b")
    sources = {
        "open-r1/OpenR1-Math-220k": ("default", test_traces.OPENR1),
        "open-thoughts/OpenThoughts-114k": ("metadata", test_traces.THOUGHTS),
    }
    with serving(place):
        for repo, (config, dataset) in sources.items():
            dataset.to_json(tmp_path / "train.jsonl")
            card = f"configs:\n- config_name: {config}\n  data_files: train.jsonl\n"
            (tmp_path / "README.md").write_text(f"---\n{card}---\n")
            files = [str(tmp_path / name) for name in ("train.jsonl", "README.md")]
            added = place.moxin("hub", "add", *files, "--as", repo, "--type", "dataset")
            assert added.returncode == 0, added.stderr
        done = place.launch(
            *("distill", "40-distill", "--output_dir", str(tmp_path / "out")),
            *("--push_to_hub", "false"),
        )
    assert done.returncode == 0, done.stderr[-3000:]
    kept = rows(tmp_path / "out", "kept")
    assert [messages[0]["content"] for messages in kept["messages"]] == [
        "What  is 1+2?",
        "Half of 3?",
    ]
    assert kept["answer"] == ["3", "\\frac{3}{2}"]
    assert rows(tmp_path / "out", "rejected")["reason"] == ["different"]
    assert rows(tmp_path / "out", "pass_rates")["pass_rate"] == [0.5, 1.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


def distill_keys(**more: object) -> DistillKeys:
    values = {"stage": "distill", "hub_dataset_id": "cot", "samples": 2, "concurrency": 4}
    return DistillKeys(**values, max_new_tokens=6, temperature=1.0, **more)


PROBLEMS = Dataset.from_dict({"problem": [f"how many {n}?" for n in range(5)], "answer": ["1"] * 5})
ALL_SAMPLES = [(problem, sample) for problem in range(5) for sample in range(2)]


def test_a_model_of_the_hub_in_this_process(model: Path, tmp_path: Path) -> None:
    run = SimpleNamespace(
        keys=distill_keys(teacher="transformers", model_name_or_path="tiny"),
        folder=tmp_path,
        pull=lambda key: model,
        parent=lambda key: SimpleNamespace(payload="of the tiny model"),
    )
    answers = list(distill.collected(run, PROBLEMS))
    assert [(answer.problem, answer.sample) for answer in answers] == ALL_SAMPLES
    assert all(1 <= answer.completion_tokens <= 6 for answer in answers)
    assert all(answer.prompt_tokens > 5 for answer in answers)
    assert len({answer.text for answer in answers}) > 5  # they are sampled
    (file,) = tmp_path.glob("samples-*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)[:3]
    file.write_bytes(b"".join(lines))  # as a kill leaves it; the rest is grouped anew
    assert list(distill.collected(run, PROBLEMS)) == answers
    tally = verified.write(tmp_path / "out", PROBLEMS, iter(answers), run.keys)
    cut = [answer.cut for answer in answers]
    assert any(cut)
    assert all(answer.completion_tokens == 6 for answer in answers if answer.cut)
    assert (tally.kept, tally.reasons["cut at max_new_tokens"]) == (0, sum(cut))
    assert tally.reasons["no </think>"] == 10 - sum(cut)


def test_transformers_serve(model: Path, tmp_path: Path) -> None:
    port = free_port()
    server = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "transformers"), "serve", str(model)),
            *("--device", "cpu", "--host", "127.0.0.1", "--port", str(port)),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(port, server)
    run = SimpleNamespace(
        keys=distill_keys(
            teacher="endpoint", base_url=f"http://127.0.0.1:{port}/v1", teacher_model=str(model)
        ),
        folder=tmp_path,
    )
    answers = list(distill.collected(run, PROBLEMS))
    server.terminate()
    server.wait()
    assert [(answer.problem, answer.sample) for answer in answers] == ALL_SAMPLES
    assert not any(answer.failure for answer in answers)
    assert any(answer.cut for answer in answers)
    assert all(1 <= answer.completion_tokens <= 6 for answer in answers)
    (file,) = tmp_path.glob("samples-*.jsonl")
    assert len(file.read_text().splitlines()) == 10


def test_vllm_that_is_not_installed_is_named(model: Path) -> None:
    with pytest.raises(ask.RecipeError, match="`teacher: vllm` needs the extra"):
        ask.Vllm(distill_keys(teacher="vllm"), model)

"""Reading more tokens than the disk may hold: bounded, once an epoch, and hard to disturb."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from tests.conftest import ROOT, Workplace, serving
from tests.tokens.token_reader import CONTEXT, order

from moxin_recipes.hub.pull import Parent
from moxin_recipes.hub.session import HubError
from moxin_recipes.tokens import cache
from moxin_recipes.tokens.cache import HubTokens
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.shards import NARROW, TokenFolder

READER = str(Path(__file__).parent / "token_reader.py")
WINDOWS = 4000  # source a comes to its second epoch
GROUP = 2


class Reading:
    """A Hub with a tokens repository, and processes that read it."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.shards = list(folder.glob("*/*.bin"))
        self.largest = max(path.stat().st_size for path in self.shards)

    def begin(self, cache: Path, **task: Any) -> subprocess.Popen[str]:
        values: dict[str, Any] = {
            "cache": str(cache), "limit": 1e9, "length": WINDOWS, "group": GROUP,
            "rank": 0, "ranks": 1, **task,
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, READER, json.dumps(values)],
            env=self.place.environment(MOXIN_HUB="local"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        return json.loads(out), errors

    def expected(self, cache: Path, **task: Any) -> str:
        """Digest of the same places, read from the folder that was pushed."""
        result, _ = self.end(self.begin(cache / "none", local=str(self.folder), **task))
        return str(result["digest"])


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    base = tmp_path_factory.mktemp("tokens")
    place = Workplace(base / "home", base)
    folder = base / "made"
    with serving(place):
        done = subprocess.run(
            [sys.executable, READER, json.dumps({"make": str(folder)})],
            env=place.environment(MOXIN_HUB="local"),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        yield Reading(place, folder)


def test_a_bounded_cache_fetches_each_shard_about_once_an_epoch(
    reading: Reading, tmp_path: Path
) -> None:
    limit = 3 * 2 * GROUP * reading.largest  # three groups of both sources
    assert limit < sum(path.stat().st_size for path in reading.shards) * 0.6
    result, log = reading.end(reading.begin(tmp_path / "cache", limit=limit))
    assert result["digest"] == reading.expected(tmp_path)
    assert 0 < result["most"] <= limit
    tokens = TokenFolder(reading.folder)
    epochs = order(tokens, GROUP).epochs(WINDOWS)
    counts = {name: len(tokens.shards(name, "train")) for name in epochs}
    once = sum((epochs[name] + 0.5) * counts[name] + 2 * GROUP for name in epochs)
    assert len(reading.shards) <= log.count("fetched ") <= once


def test_two_processes_share_one_cache(reading: Reading, tmp_path: Path) -> None:
    limit = 3 * 2 * GROUP * reading.largest
    both = [reading.begin(tmp_path, limit=limit, rank=rank, ranks=2) for rank in range(2)]
    for rank, process in enumerate(both):
        result, _ = reading.end(process)
        assert result["digest"] == reading.expected(tmp_path, rank=rank, ranks=2)
        assert result["most"] <= limit


def test_deleted_and_killed_downloads_are_fetched_again(reading: Reading, tmp_path: Path) -> None:
    name = "0" * 64
    (tmp_path / f"{name}.900000.part" / "a").mkdir(parents=True)  # of a process that was killed
    result, _ = reading.end(reading.begin(tmp_path, limit=900_000, delete=True, length=300))
    assert result["digest"] == reading.expected(tmp_path, length=300)
    assert not (tmp_path / f"{name}.900000.part").exists()


def test_a_cache_that_is_too_small_names_its_key(reading: Reading, tmp_path: Path) -> None:
    process = reading.begin(tmp_path, limit=reading.largest)
    _, errors = process.communicate(timeout=300)
    assert "`token_cache_gb`: 4" in errors
    assert "raise it, or lower `shuffle_shards`" in errors


@pytest.mark.parametrize("failures", [2, 9])
def test_training_waits_for_a_hub_that_does_not_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failures: int,
) -> None:
    content = np.arange(100, dtype=NARROW).tobytes()
    digest = hashlib.sha256(content).hexdigest()
    tries: list[str] = []

    class Client:
        def hf_hub_download(self, _: str, path: str, *, local_dir: Path, **__: Any) -> str:
            tries.append(path)
            if len(tries) <= failures:
                raise httpx2.ConnectError("refused")
            downloaded = local_dir / path
            downloaded.parent.mkdir(exist_ok=True)
            downloaded.write_bytes(content if len(tries) > failures + 1 else content[:-2])
            return str(downloaded)

    files = {"a/train-00000-00000.bin": {"size": 200, "sha256": digest}}
    monkeypatch.setattr(cache, "read_manifest", lambda *_: {"files": files})
    monkeypatch.setattr(cache, "api", Client)
    monkeypatch.setattr(cache, "PAUSES", (0.01,) * 4)
    parent = Parent("dataset_name", "dataset", "x/tokens", "data", "c" * 40, "p")
    tokens = HubTokens(parent, tmp_path, 1000)
    (shard,) = tokens.shards("a", "train")
    if failures == 9:
        with pytest.raises(HubError, match=r"-00000\.bin: the Hub at .* does not answer"):
            tokens.read(shard, 3, 2)
        return
    assert tokens.read(shard, 3, 2).tolist() == [3, 4]
    assert caplog.text.count("does not answer") == 2
    assert caplog.text.count("did not arrive whole") == 1  # its sha256 is checked
    assert [path.name for path in tmp_path.iterdir() if path.name != "locks"] == [digest]


@pytest.mark.soak  # the client itself tries for 25 seconds
@pytest.mark.parametrize("back", [True, False])
def test_a_hub_that_is_down_for_a_while(reading: Reading, tmp_path: Path, back: bool) -> None:
    """A copy of the Hub dies after the reader has begun; the reader waits, or says why it ends."""
    home = tmp_path / "home"
    shutil.copytree(reading.place.home / "hub", home / "hub")
    (home / "hub" / "port").unlink()
    other = Reading(Workplace(home, tmp_path), reading.folder)
    with serving(other.place):
        pauses = [0.2] * (500 if back else 2)
        process = other.begin(tmp_path / "cache", wait=True, pauses=pauses, length=50)
        assert process.stdin is not None
        assert process.stderr is not None
        while process.stderr.readline() != "ready\n":
            assert process.poll() is None
    process.stdin.write("\n")
    process.stdin.flush()
    while "does not answer" not in process.stderr.readline():
        assert process.poll() is None
    if not back:
        _, errors = process.communicate(timeout=300)
        assert process.returncode != 0
        assert "start it (`moxin hub serve`) or check the network" in errors
        return
    with serving(other.place):
        result, _ = other.end(process)
    assert result["digest"] == other.expected(tmp_path, length=50)


def write_recipe(folder: Path, **changes: Any) -> Path:
    """A pretrain recipe on the repository that was made."""
    values = {
        "stage": "pretrain", "model_name_or_path": "none", "dataset_name": "tokens@data",
        "hub_model_id": "none", "context_length": CONTEXT, "global_batch_size": 4,
        "per_device_train_batch_size": 2, "max_steps": 50, "seed": 3, "shuffle_shards": GROUP,
        "accelerate_config": "accelerate_configs/ddp.yaml", "learning_rate": 1e-3,
        "mixture": [
            {"source": "a", "weight": 0.7, "epochs": 9},
            {"source": "b", "weight": 0.3, "epochs": 9},
        ],
        **changes,
    }  # fmt: skip
    path = folder / "20-pretrain.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_samples_name_every_token_of_a_step(reading: Reading, tmp_path: Path) -> None:
    words = ("samples", str(write_recipe(tmp_path)), "--hub", "local", "--step", "7")
    done = reading.place.moxin(*words, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    spans = json.loads(done.stdout)
    tokens = TokenFolder(reading.folder)
    mixture = Mixture(tokens, order(tokens, GROUP), 200, Framing(1, 2))
    documents = {}
    for path in reading.folder.glob("*/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            ids = np.fromfile(path.with_suffix(".bin"), "<u2")
            documents[row["id"]] = ids[row["start"] : row["start"] + row["tokens"]]
    for sequence in range(4):
        inside = [span for span in spans if span["sequence"] == sequence]
        read = np.concatenate([documents[s["document"]][slice(*s["tokens"])] for s in inside])
        assert read.tolist() == mixture[6 * 4 + sequence]["input_ids"].tolist()
        assert {span["rank"] for span in inside} == {sequence // 2}
        assert {span["document"][0] for span in inside} == {inside[0]["source"]}
    table = reading.place.moxin(*words, "--rank", "1")
    assert spans[-1]["document"] in table.stdout
    assert reading.place.moxin(*words, "--rank", "2").stderr.startswith("error: `--rank`: the laun")
    last = reading.place.moxin(*words[:-1], "51")
    assert "has steps 1 to 50, not 51" in last.stderr
    other = ROOT / "recipes" / "moxin-nano" / "30-sft.yaml"
    wrong = reading.place.moxin("samples", str(other), "--hub", "local", "--step", "1")
    assert "only a pretrain recipe reads tokens" in wrong.stderr

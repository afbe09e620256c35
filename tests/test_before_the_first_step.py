"""Whatever the end of a stage needs is proven before its first step: one line, nothing trained."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from huggingface_hub import HfApi

from moxin_hub import launcher
from moxin_recipes.hub import patience, session, targets
from tests.conftest import Workplace
from tests.test_errors import error_of


def started(place: Workplace, recipe: str, changes: dict[str, Any], **variables: str) -> str:
    """The error of a stage with these changes, which has made no step and no checkpoint."""
    values = yaml.safe_load((place.ladder / f"{recipe}.yaml").read_text())
    path = place.ladder / "early.yaml"
    path.write_text(yaml.safe_dump({**values, "hub_model_id": "early", **changes}))
    done = place.launch(values["stage"], "early", **variables)
    path.unlink()
    folder = place.home / "runs" / "mini" / "early"
    assert not list(folder.glob("state-*/checkpoint-*"))
    assert not list(folder.glob("*.safetensors"))
    return error_of(done)


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(finished: Workplace) -> Iterator[None]:
    """The ladder is shared: what these tests bring to its Hub goes with them."""
    who = launcher.identity(finished.home / "hub")
    hub = HfApi(who.endpoint, token=who.token)

    def there() -> set[tuple[str, str]]:
        models = {(repo.id, "model") for repo in hub.list_models()}
        return models | {(repo.id, "dataset") for repo in hub.list_datasets()}

    before = there()
    yield
    for name, kind in there() - before:
        hub.delete_repo(name, repo_type=kind)


@pytest.fixture(scope="module")
def _odd_problems(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A dataset whose splits are no good to score on."""
    folder = tmp_path_factory.mktemp("odd")
    row = {"problem": ["1+1"], "answer": ["2"]}
    Dataset.from_dict(row).to_parquet(folder / "train.parquet")
    empty = Dataset.from_dict(row).select([])
    empty.to_parquet(folder / "test.parquet")
    who = launcher.identity(finished.home / "hub")
    hub = HfApi(who.endpoint, token=who.token)
    name = hub.create_repo("local/odd-problems", repo_type="dataset", exist_ok=True).repo_id
    hub.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder)


@pytest.mark.usefixtures("_odd_problems")
@pytest.mark.parametrize(
    ("recipe", "changes", "expected"),
    [
        ("30-sft", {"eval_split": "nowhere"}, "`problems_name`"),
        ("30-sft", {"problems_config": "other"}, "`problems_name`"),
        ("31-dpo", {"problems_name": "moxin-nano-chat@data"}, "`problems_name`"),
        (
            "30-sft",
            {"problems_name": "odd-problems", "problems_config": None, "eval_split": "test"},
            "`problems_name`: it cannot be read",  # a split without rows
        ),
        (
            "42-grpo",
            {
                "problems_name": "odd-problems",
                "problems_config": None,
                "eval_split": "train",
                "longer_split": "train",
            },
            "no column `chain_prefix`",
        ),
    ],
)
def test_held_out_problems(
    finished: Workplace, recipe: str, changes: dict[str, Any], expected: str
) -> None:
    assert expected in started(finished, recipe, changes)


def other_tokens(place: Workplace, folder: Path, name: str, kept: int) -> str:
    """The ladder's tokens under another name, each held-out shard cut to `kept` tokens or gone."""
    who = launcher.identity(place.home / "hub")
    hub = HfApi(who.endpoint, token=who.token)
    hub.snapshot_download("local/moxin-nano-tokens", repo_type="dataset", local_dir=folder)
    for path in folder.glob("*/heldout*.bin"):
        path.write_bytes(path.read_bytes()[: 2 * kept])
        if not kept:
            path.unlink()
    manifest = json.loads((folder / "moxin.json").read_text())
    manifest["files"] = {k: v for k, v in manifest["files"].items() if (folder / k).exists()}
    (folder / "moxin.json").write_text(json.dumps(manifest))
    hub.create_repo(f"local/{name}", repo_type="dataset")
    hub.upload_folder(repo_id=f"local/{name}", repo_type="dataset", folder_path=folder)
    return name


@pytest.mark.parametrize("recipe", ["20-pretrain-2k", "10-init"])
def test_a_window_longer_than_every_held_out_shard(
    finished: Workplace, tmp_path: Path, recipe: str
) -> None:
    name = other_tokens(finished, tmp_path, f"short-{recipe}", 100)
    error = started(finished, recipe, {"eval_context_length": 200, "dataset_name": name})
    assert "`eval_context_length`: 200 tokens, and the longest held-out shard" in error
    assert "has 100; take fewer" in error


def test_tokens_without_held_out_documents(finished: Workplace, tmp_path: Path) -> None:
    name = other_tokens(finished, tmp_path, "all-trained", 0)
    error = started(finished, "20-pretrain-2k", {"dataset_name": name})
    assert "`dataset_name`: these tokens have no held-out documents" in error
    assert "`heldout_fraction`" in error


def test_a_token_that_may_only_read(finished: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    who = launcher.identity(finished.home / "hub")
    token = launcher.read_token(who.root)
    error = started(finished.cold(), "30-sft", {}, MOXIN_HUB=who.endpoint, HF_TOKEN=token)
    assert "`hub_model_id`: local/" in error
    assert "this token may not write there" in error
    client = HfApi(who.endpoint, token=token)
    monkeypatch.setattr(targets, "api", lambda: client)
    with pytest.raises(session.HubError, match="this token may not write there"):
        targets.prove("hub_model_id", "local/moxin-nano-sft", "model", private=True)  # it is there


class _Answer(BaseHTTPRequestHandler):
    status = 503

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Answer]]:
    """A Hub that gives one answer to everything; `status` says which."""
    kind = type("Answer", (_Answer,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = HfApi(f"http://127.0.0.1:{server.server_port}", token="hf_any")
        monkeypatch.setattr(targets, "api", lambda: client)
        monkeypatch.setattr(patience, "LIMIT", 0.0)  # else it would be waited for
        yield kind
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "set HF_TOKEN"),
        (402, "asks for a payment"),
        (403, "may not write there"),
        (507, "its disk is full"),  # the next one needs a place first
    ],
)
def test_what_a_hub_refuses_ends_the_stage(refusing: type[_Answer], status: int, says: str) -> None:
    refusing.status = status
    with pytest.raises(session.HubError, match=says) as caught:
        targets.prove("hub_model_id", "someone/model", "model", private=True)
    assert str(caught.value).startswith("`hub_model_id`: someone/model: ")
    assert not caught.value.passing


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_hub_in_trouble_is_a_warning(
    refusing: type[_Answer], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    refusing.status = status
    targets.prove("hub_model_id", "someone/model", "model", private=True)
    assert "not looked whether it can be written" in caplog.text


def test_a_hub_that_is_away_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(targets, "api", lambda: HfApi("http://127.0.0.1:9", token="hf_any"))
    targets.prove("hub_model_id", "someone/model", "model", private=True)
    assert "does not answer" in caplog.text

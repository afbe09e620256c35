"""Servers for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

# Read by the clients when they are first imported: nothing here may reach for the public Hub.
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

from huggingface_hub import HfApi, constants
from running_hub import Hub

_numbers = count()


@pytest.fixture(autouse=True)
def _plain_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test module may have imported the client before the variable above was set."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One server for a module's tests."""
    running = Hub(tmp_path_factory.mktemp("hub")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def fresh_hub(tmp_path: Path) -> Iterator[Hub]:
    """A server of its own for a test that counts, breaks or kills."""
    running = Hub(tmp_path / "hub").start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


@pytest.fixture
def api(hub: Hub) -> HfApi:
    """The client with the write token."""
    return hub.api()


@pytest.fixture
def repo(api: HfApi) -> str:
    """A new model repository."""
    return api.create_repo(f"moxin-org/Model-{next(_numbers)}").repo_id

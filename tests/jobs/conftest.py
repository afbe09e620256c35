"""Jobs before the Hub of the tests' home."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from tests.jobs.jobs_api import JobsHub, jobs_hub

from moxin_recipes import environment
from moxin_recipes.hub import session
from moxin_recipes.jobs import code
from moxin_recipes.jobs.code import Code

HERE = Code("https://localhost/code", "0" * 40, "recipes/mini", "")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsHub]:
    """Jobs before the Hub of the tests' home, for this process."""
    session.start()
    who = environment.local_hub()
    with jobs_hub(who.endpoint, tmp_path) as opened:
        api = HfApi(endpoint=opened.endpoint)
        monkeypatch.setattr(session, "api", lambda: api)
        monkeypatch.setenv("HF_ENDPOINT", opened.endpoint)
        monkeypatch.setenv("HF_TOKEN", who.token)
        monkeypatch.setenv("MOXIN_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(code, "of_ladder", lambda _: HERE)
        yield opened

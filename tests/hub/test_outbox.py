"""The queue of checkpoints: nothing is lost by a Hub that is away, a restart, or a refusal."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.hub.test_push_and_pull import MANIFEST

from moxin_recipes.hub import commits, outbox, push, session
from moxin_recipes.hub.outbox import Outbox
from moxin_recipes.hub.retention import Retention
from moxin_recipes.hub.session import AwayError, HubError

pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint" / "weights.safetensors"
    path.parent.mkdir()
    path.write_bytes(bytes(200_000))
    return path


def options(repo: str, key: str = "k1") -> dict[str, Any]:
    return {
        "repo": repo,
        "repo_type": "model",
        "manifest": {**MANIFEST, "key": key},
        "private": True,
    }


def branches(repo: str) -> dict[str, str]:
    refs = session.api().list_repo_refs(f"local/{repo}").branches
    return {ref.name: ref.target_commit for ref in refs}


class Away:
    """Between an outbox in `place` and `push`: while `away`, the Hub does not answer it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
        self.away, self.tried, self._place = True, threading.Event(), place
        self.sent: list[str] = []
        monkeypatch.setattr(outbox, "push", self)

    def __call__(self, folder: Path, **options: Any) -> str:
        self.tried.set()
        if not self.away and folder.parent == self._place:
            self.sent.append(folder.name)
        if self.away and folder.parent == self._place:
            raise AwayError("the Hub does not answer")
        return push.push(folder, **options)


def test_what_waits_goes_out_in_order_when_the_hub_is_back(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Away(monkeypatch, tmp_path / "outbox")
    box = Outbox(tmp_path / "outbox")
    names = [f"p-step-{step:06d}" for step in (1, 999_999, 1_000_000)]
    for name in names:
        box.add([weights], name, **options("out-a"))
    weights.unlink()  # rotated away meanwhile
    assert hub.tried.wait(20)
    hub.away = False
    box.finish()
    assert hub.sent == names  # of numbers, not of letters
    assert set(branches("out-a")) == {"main", *names}
    assert not [path for path in (tmp_path / "outbox").iterdir() if path.is_dir()]


def test_what_waits_outlives_the_process(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Away(monkeypatch, tmp_path / "outbox")
    before = Outbox(tmp_path / "outbox", patience=0.2)
    before.add([weights], "step-000001", **options("out-b"))
    with pytest.raises(HubError, match=r"1 checkpoints did not reach.*step-000001.*same command"):
        before.finish()
    shutil.copytree(tmp_path / "outbox", tmp_path / "again")  # what another process finds
    (tmp_path / "again" / ".step-000000").mkdir()  # half removed when it was killed
    after = Outbox(tmp_path / "again")
    after.finish()
    assert "step-000001" in branches("out-b")
    assert not (tmp_path / "again" / ".step-000000").exists()
    after.add([weights], "step-000001", **options("out-b"))  # known to be there
    after.finish()


def test_a_refusal_is_raised_and_holds_up_nothing(tmp_path: Path, weights: Path) -> None:
    box = Outbox(tmp_path / "outbox")
    box.add([weights], "step-000001", **options("not a name"))
    box.add([weights], "step-000002", **options("out-c"))
    with pytest.raises(Exception, match="not a name"):
        box.finish()
    assert "step-000002" in branches("out-c")


def test_only_the_newest_of_this_key_are_kept(tmp_path: Path, weights: Path) -> None:
    api = session.api()
    other = Outbox(tmp_path / "other")
    for step in (1, 8, 9):  # further on than this run will come
        other.add([weights], f"p-step-{step:06d}", **options("out-d", key="another"))
    other.add([weights], "q-step-000001", **options("out-d"))
    other.finish()
    for name in ("incoming-p-step-000003", "incoming-q-step-000003"):  # uploads that were stopped
        api.create_branch("local/out-d", branch=name)
    box = Outbox(tmp_path / "outbox", Retention(2))
    for step in (2, 3, 4, 5):
        box.add([weights], f"p-step-{step:06d}", **options("out-d"))
    box.finish()
    kept = {f"p-step-{step:06d}" for step in (1, 4, 5, 8, 9)}
    assert set(branches("out-d")) == {"main", "q-step-000001", "incoming-q-step-000003", *kept}
    api.delete_branch("local/out-d", branch="p-step-000005")
    with pytest.raises(HubError, match="out-d@p-step-000005 was pushed and is no longer"):
        box.finish()


def test_a_long_absence_fills_no_disk(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Away(monkeypatch, tmp_path / "outbox")
    box = Outbox(tmp_path / "outbox", Retention(2))
    box.add([weights], "p-step-000001", **options("out-f"))
    assert hub.tried.wait(20)  # it is on its way, and stays so
    for step in (2, 3, 4, 5):
        box.add([weights], f"p-step-{step:06d}", **options("out-f"))
    hub.away = False
    box.finish()
    assert set(branches("out-f")) == {"main", "p-step-000004", "p-step-000005"}
    sent = {path.stem for path in (tmp_path / "outbox").glob("*.sent")}
    assert sent == {f"p-step-{step:06d}" for step in (1, 4, 5)}


def test_a_branch_appears_only_when_it_is_whole(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring: Callable[..., str] = commits.bring

    def torn(folder: Path, *rest: Any) -> str:
        (folder / "weights.safetensors").unlink()  # what the manifest tells of changes on its way
        (folder / "weights.safetensors").write_bytes(bytes(1000))
        return bring(folder, *rest)

    monkeypatch.setattr(commits, "bring", torn)
    box = Outbox(tmp_path / "outbox")
    box.add([weights], "step-000001", **options("out-e"))
    with pytest.raises(HubError, match=r"weights\.safetensors did not arrive whole"):
        box.finish()
    assert "step-000001" not in branches("out-e")
    monkeypatch.undo()
    (tmp_path / "outbox" / "step-000001" / "weights.safetensors").unlink()
    (tmp_path / "outbox" / "step-000001" / "weights.safetensors").hardlink_to(weights)
    Outbox(tmp_path / "outbox").finish()
    assert set(branches("out-e")) == {"main", "step-000001"}


def test_only_what_may_pass_is_tried_again() -> None:
    tried: list[HubError] = []

    def failing(*errors: HubError) -> Callable[[], str]:
        left = list(errors)

        def work() -> str:
            if left:
                tried.append(left.pop(0))
                raise tried[-1]
            return "done"

        return work

    hurry = threading.Event()
    hurry.set()
    assert push.patiently(failing(AwayError("down")), hurry=hurry) == "done"
    with pytest.raises(HubError, match="refused"):
        push.patiently(failing(HubError("refused"), HubError("never reached")))
    with pytest.raises(AwayError, match="down"):
        push.patiently(failing(AwayError("down"), AwayError("never reached")), patience=0.5)
    assert [str(error) for error in tried] == ["down", "refused", "down"]


def test_a_big_file_cut_off_on_its_way_may_pass() -> None:
    def upload() -> None:
        try:
            raise httpx2.ConnectError("refused")
        except httpx2.ConnectError as error:
            raise RuntimeError("Error while uploading 'w' to the Hub.") from error

    with pytest.raises(AwayError, match="does not answer"), session.errors("repo"):
        upload()
    with pytest.raises(AwayError), session.errors("outer"), session.errors("inner"):
        upload()

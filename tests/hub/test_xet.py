"""Pushes with the client's Xet side on, as against the public Hub: it makes a series of commits.

The embedded Hub has no Xet storage. Here a second server hands out tokens for one in a folder, that
hf_xet itself provides; what the public Hub does between the two, a test does: before a commit it
puts the big files into the embedded Hub's own store.
"""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, _commit_api, constants
from huggingface_hub import _upload_pipeline as series
from huggingface_hub.utils import _xet
from tests.hub.test_push_and_pull import MANIFEST
from tests.hub.test_torn_pushes import CLOSING, Killed, commit_count, do, files, head

from moxin_recipes.hub import commits, manifest, pull, session

SMALL = [f"part-{number:02d}.json" for number in range(30)]
BIG = [f"weights-{number:02d}.safetensors" for number in range(30)]
FAR = 4_000_000_000  # seconds since 1970


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[str]:
    """The address of a server that gives out tokens for a Xet storage in a folder."""

    class Tokens(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            told = {"casUrl": f"local://{tmp_path / 'xet'}", "accessToken": "t", "exp": FAR}
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def bridged(tokens: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Xet is on; the number of big files of each commit that came through it."""
    sent: list[int] = []

    def bridging(send: Callable[..., Any]) -> Callable[..., Any]:
        def call(**options: Any) -> Any:
            big = [
                CommitOperationAdd(one.path_in_repo, one.path_or_fileobj)
                for one in options["operations"]
                if isinstance(one, CommitOperationAdd) and one._upload_mode == "lfs"
            ]
            sent.append(len(big))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
                session.api().preupload_lfs_files(options["repo_id"], big, free_memory=False)
            return send(**options)

        return call

    for module in (series, _commit_api):
        monkeypatch.setattr(module, "_send_commit", bridging(vars(module)["_send_commit"]))
    for module in (series, _xet):
        monkeypatch.setattr(module, "xet_connection_info_refresh_url", lambda **_: tokens)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    return sent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "many"
    made.mkdir()
    for number, name in enumerate([*SMALL, *BIG]):
        (made / name).write_bytes(f"[{number}]".encode() + bytes(100_000 * (name in BIG)))
    return made


def test_the_clients_own_series_stopped_halfway_is_mended(
    folder: Path, bridged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.write(folder, MANIFEST)
    monkeypatch.setattr(series, "COMMIT_SIZE_SCALE", [20] * 10)
    session.api().create_repo("local/series", exist_ok=True)
    send = series._send_commit

    def stopped(**options: Any) -> Any:
        if len(bridged) == 2:
            raise Killed
        return send(**options)

    with monkeypatch.context() as patch:
        patch.setattr(series, "_send_commit", stopped)
        with pytest.raises(Killed):
            session.api().upload_folder(repo_id="local/series", folder_path=folder)
    torn = files("series", "main")
    assert len(torn) == 40  # of 61, in two commits
    assert {"moxin.json", BIG[5]} < torn  # in the order of their names
    parent = pull.Parent("model_name_or_path", "model", "local/series", "main", head("series"), "")
    with pytest.raises(session.HubError, match="lacks 21 files of its manifest, the first weights"):
        pull.download(parent)
    commit = do(folder, "series", tags=("sft",))
    assert files("series", commit) == {*SMALL, *BIG, *CLOSING}
    assert bridged[2:] == [21]  # what was there is not sent again
    assert do(folder, "series") == commit == head("series")


def test_our_own_series_goes_through_xet(
    folder: Path, tmp_path: Path, bridged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "FILES", 40)
    commit = do(folder, "through-xet", tags=("sft",))
    assert bridged == [10, 20]
    assert commit_count("through-xet") == 3  # its creation, and two parts
    assert any((tmp_path / "xet").rglob("*"))
    commits.verify(folder, "local/through-xet", "model", commit, manifest.payload_files(folder))

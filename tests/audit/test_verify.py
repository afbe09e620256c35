"""`moxin verify` of a ladder's own release: untouched, then with faults of each kind, all named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Workplace, serving
from tests.test_ladder import python

from moxin_recipes.hub.cards import rows

RELEASE = "moxin-nano-release"


@pytest.fixture(scope="module")
def copied(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The finished ladder with a Hub of its own, and the client's cache of all that it served."""
    home = tmp_path_factory.mktemp("copied") / "home"
    shutil.copytree(finished.home / "hub", home / "hub")
    shutil.copytree(finished.home / "cache", home / "cache", symlinks=True)
    (home / "hub" / "port").unlink()
    place = Workplace(home, finished.ladder)
    with serving(place):
        yield place


def said(place: Workplace, *words: str) -> tuple[int, list[str], str]:
    done = place.moxin("verify", *words, "--hub", "local")
    lines = done.stdout.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    faults = [line.removeprefix("fault: ") for line in lines if line.startswith("fault: ")]
    return done.returncode, faults, lines[-1] if lines else done.stderr


def with_words(place: Workplace, code: str, *words: str) -> str:
    return python(place, f"import sys\nsys.argv[1:] = {words!r}\n{code}")


def test_an_untouched_release(copied: Workplace) -> None:
    code, faults, last = said(copied, RELEASE)
    assert (code, faults) == (0, [])
    assert last.startswith("17 revisions, ")
    assert last.endswith(" read: all is as it was")
    code, faults, last = said(copied, f"{RELEASE}@release", "--alive")
    assert (code, faults) == (0, [])
    assert last.endswith(" asked for: all is as it was")
    code, faults, _ = said(copied, "moxin-nano-base@pretrain-2k-step-000003")
    assert (code, faults) == (0, [])


EDIT = """
import sys
from huggingface_hub import HfApi, hf_hub_download
repo, at, *pairs = sys.argv[1:]
text = open(hf_hub_download(repo, "README.md", revision=at)).read()
for old, new in zip(pairs[::2], pairs[1::2]):
    assert old in text, text
    text = text.replace(old, new)
print(HfApi().upload_file(repo_id=repo, path_in_repo="README.md", path_or_fileobj=text.encode(),
                          commit_message="edited").oid)
"""
INSTRUCT = "local/moxin-nano-instruct"


WORDS = """# Its owner's

Thank you, 3 friends.

| who | why |
|---|---|
| me | 1 |

"""


def test_a_card_with_words_of_its_owner_and_one_with_other_figures(copied: Workplace) -> None:
    end = "## How to make it again"
    metadata = ("\n---\n\n#", "\nlanguage: en\n---\n\n#")
    at = with_words(copied, EDIT, INSTRUCT, "main", end, WORDS + end, *metadata).strip()
    done = copied.moxin("verify", INSTRUCT, "--hub", "local")
    assert done.returncode == 0, done.stdout
    assert "README.md: 4 lines of its owner's" in done.stdout
    manifest = json.loads(with_words(copied, TOLD, INSTRUCT))
    tables = rows.of(manifest)
    name, *figures = tables["metrics"].rows[0]
    of, names = tables["licences"].rows[0]
    row, false = f"| {name} | {' | '.join(figures)} |", f"{name} | 0.99 | –"
    for old, new, fault in (
        (row, f"| {false} |", f"it says `{false}`, and its manifest `{' | '.join(figures)}`"),
        (f"| {of} | {names} |\n", "", f"it does not say that {of} is under {names}"),
        ("\nbase_model:\n", "\nbase_model:\n- x/y\n", "it says `base_model: ['x/y', 'local/"),
    ):
        with_words(copied, EDIT, INSTRUCT, at, old, new)
        code, faults, _ = said(copied, INSTRUCT)
        assert code == 1, new
        assert any(f"README.md: {fault}" in line for line in faults), (fault, faults)
    with_words(copied, EDIT, INSTRUCT, at)
    assert said(copied, INSTRUCT)[:2] == (0, [])


TOLD = """
import sys
from huggingface_hub import hf_hub_download
print(open(hf_hub_download(sys.argv[1], "moxin.json")).read())
"""
DROP = """
import sys
from huggingface_hub import HfApi
repo, branch = sys.argv[1:]
commit = {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(repo).branches}
HfApi().delete_branch(repo, branch=branch)
print(commit[branch])
"""
AGAIN = """
import sys
from huggingface_hub import HfApi
repo, branch, other = sys.argv[1:]
HfApi().create_branch(repo, branch=branch, revision=other)
"""


def test_a_deleted_checkpoint(copied: Workplace) -> None:
    repo = "local/moxin-nano-sft"
    kept = json.loads(with_words(copied, TOLD, repo))["checkpoints"]
    branch = next(iter(kept))
    commit = with_words(copied, DROP, repo, branch).strip()
    code, faults, _ = said(copied, RELEASE)
    assert code == 1
    (fault,) = faults
    assert fault.startswith(f"{repo}: `{branch}` is gone; {repo}@")
    with_words(copied, AGAIN, repo, branch, "sft")
    code, faults, _ = said(copied, repo)
    assert (code, len(faults)) == (1, 1)
    assert f"`{branch}` is another one than {repo}@" in faults[0]
    with_words(copied, DROP, repo, branch)
    with_words(copied, AGAIN, repo, branch, commit)
    assert said(copied, repo)[:2] == (0, [])


BREAK = """
import json
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
api = HfApi()
commit = {ref.name: ref.target_commit for ref in api.list_repo_refs("local/moxin-nano-base").tags}

def move(repo, tag, to, kind="model"):
    api.delete_tag(repo, tag=tag, repo_type=kind)
    api.create_tag(repo, tag=tag, revision=to, repo_type=kind)

api.delete_tag("local/moxin-nano-base", tag="pretrain-2k")
api.create_branch("local/moxin-nano-base", branch="aside", revision=commit["pretrain-2k"])
api.delete_branch("local/moxin-nano-base", branch="aside")
move("local/moxin-nano-base", "pretrain-4k", commit["pretrain-enhance"])
api.delete_repo("local/moxin-nano-preferences", repo_type="dataset")

def edited(repo, name, change):
    path = hf_hub_download(repo, name)
    told = json.loads(open(path).read())
    change(told)
    api.upload_file(repo_id=repo, path_in_repo=name, path_or_fileobj=json.dumps(told).encode(),
                    commit_message="edited")

edited("local/moxin-nano-reasoning", "moxin.json", lambda told: told["metrics"].update(accuracy=1))
edited("local/moxin-nano-cot", "moxin.json", lambda told: told["parents"].pop())
edited("local/moxin-nano-instruct", "config.json", lambda told: told.update(rope_theta=1.0))
api.delete_file("moxin.json", "local/moxin-nano-chat", repo_type="dataset")
api.upload_file(repo_id="local/moxin-nano-base", path_in_repo=".eval_results_too/x.bin",
                path_or_fileobj=b"x")
edited("local/moxin-nano-release", "release.json", lambda told: told.pop())
api.create_commit("local/moxin-nano-sft", commit_message="x", operations=[
    CommitOperationAdd("extra.bin", b"more"), CommitOperationDelete("generation_config.json")])
path = hf_hub_download("local/moxin-nano-sft", "moxin.json", revision="sft")
said = json.loads(open(path).read())
print(said["files"]["model.safetensors"]["sha256"])
"""


def test_every_fault_is_named_with_a_warm_cache(copied: Workplace) -> None:
    (weights,) = python(copied, BREAK).split()
    (held,) = (copied.home / "hub" / "lfs").rglob(weights)
    held.chmod(0o644)
    content = bytearray(held.read_bytes())
    content[-1] ^= 1
    held.write_bytes(content)
    code, faults, last = said(copied, f"{RELEASE}@release")
    assert code == 1
    assert last.endswith(f"{len(faults)} faults")
    told = "\n".join(faults)
    for words in (
        "model.safetensors: what the Hub serves is not what its commit holds",
        "local/moxin-nano-base: `pretrain-2k` is gone; local/moxin-nano-release@",
        "local/moxin-nano-base: `pretrain-4k` has moved to ",
        ": it is not on the Hub, or closed to this token; local/moxin-nano-instruct@",
        "local/moxin-nano-preferences@",
    ):
        assert words in told, told
    by_name = {
        "moxin-nano-reasoning": "moxin.json: it is not the one that its stage pushed (`done-",
        "moxin-nano-cot": "moxin.json: it is not the one that its stage pushed (`done-",
        "moxin-nano-instruct": "config.json: it is not the file of its moxin.json",
        RELEASE: "release.json: it is not the file of its moxin.json",
        "moxin-nano-chat": "it has no moxin.json, and a stage made it",
        "moxin-nano-base": ".eval_results_too/x.bin: its moxin.json does not list it",
        "moxin-nano-sft": "extra.bin: its moxin.json does not list it",
    }
    for repo, words in by_name.items():
        code, faults, _ = said(copied, repo)
        assert code == 1
        assert any(words in fault and repo in fault for fault in faults), faults
    assert "generation_config.json: its moxin.json lists it, and it is not there" in str(faults)
    done = copied.moxin("replay", "moxin-nano-instruct", "--hub", "local")
    assert done.returncode == 1
    assert "moxin-nano-instruct: it is not what was made: local/moxin-nano-inst" in done.stderr


def test_what_does_not_answer_is_named(copied: Workplace, tmp_path: Path) -> None:
    code, faults, last = said(copied, f"{RELEASE}@release", "--alive")
    assert code == 1
    assert any("local/moxin-nano-preferences@" in fault for fault in faults)
    assert last.endswith(f" asked for: {len(faults)} faults")
    endpoint = python(copied, "import os; print(os.environ['HF_ENDPOINT'])").strip()
    page = f"{endpoint}/local/moxin-nano-sft/resolve/sft"
    lines = [
        *("# ours", "local/moxin-nano-sft@sft", "datasets/local/moxin-nano-chat", ""),
        *("local/moxin-nano-sft@never", "local/moxin-nano-chat", "datasets/local/moxin-nano-no"),
        *("http://127.0.0.1:9/x", f"{page}/config.json"),
    ]
    (tmp_path / "links").write_text("\n".join(lines))
    done = copied.moxin("verify", "--alive", "--list", str(tmp_path / "links"), "--hub", "local")
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert [line.split(": ")[1] for line in told[:-1]] == [
        *("local/moxin-nano-sft@never", "local/moxin-nano-chat", "datasets/local/moxin-nano-no"),
        *("http://127.0.0.1:9/x", f"{page}/config.json"),
    ]
    assert told[-1] == "2 of 7 answer"
    assert "no answer (ConnectError)" in told[3]
    assert "HTTP 40" in told[4]  # private, and no token goes to an address


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("moxin-nano-none",), "no such repository"),
        (("moxin-nano-sft@never",), "no such revision"),
        (("--list", "links"), "--list: it goes with --alive"),
        (("--alive", "--list", "no-such-file"), "no-such-file: it cannot be read"),
    ],
)
def test_what_cannot_be_verified_is_one_line(
    copied: Workplace, words: tuple[str, ...], line: str
) -> None:
    done = copied.moxin("verify", *words, "--hub", "local")
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert line in error

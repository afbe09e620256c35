"""What the tests of `moxin hub mirror` share: a mortal command, a seeded Hub, all it holds."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from running_hub import Hub

ALPHA, GSM8K = ("model", "local/alpha"), ("dataset", "openai/gsm8k")
REPOS = ["local/alpha", "datasets/openai/gsm8k"]

# `moxin` that dies by SIGKILL: right before the first call that its allowance does not cover, or
# right after it, when the work is done but nobody was told. What counts is what changes a Hub.
MORTAL = """
import os, signal, sys
allowance, late = int(sys.argv[1]), sys.argv[2] == "late"
sys.argv[1:3] = []
from moxin_recipes import cli, environment

def mortal(owner, name):
    real = getattr(owner, name)
    def wrapped(*args, **kwargs):
        global allowance
        allowance -= 1
        if allowance < 0 and not late:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if allowance < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

choose = environment.choose_none
def choose_first(**options):
    choose(**options)
    from huggingface_hub import HfApi
    from moxin_recipes.hub import side
    made = ("repo", "commit", "branch", "tag")
    for name in (*(f"create_{kind}" for kind in made), "preupload_lfs_files"):
        mortal(HfApi, name)
    mortal(side, "http_get")
environment.choose_none = choose_first
cli.main()
"""


def moxin(
    home: Path, *words: str, script: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`moxin hub …` in a process of its own, with no variables of the Hub but those given."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MOXIN_"))}
    return subprocess.run(
        [sys.executable, "-c", script or "from moxin_recipes.cli import main; main()", *words],
        env=keep | {"MOXIN_HOME": str(home), "HF_TOKEN": "hf_not_real", **variables},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def commit(api: HfApi, repo: tuple[str, str], branch: str, title: str, **files: Any) -> str:
    """A commit that adds `files` (name → bytes), or deletes those that are None."""
    operations = [
        CommitOperationDelete(path) if data is None else CommitOperationAdd(path, data)
        for path, data in files.items()
    ]
    done = api.create_commit(
        repo[1], operations, commit_message=title, commit_description=f"about\n\n{title}",
        repo_type=repo[0], revision=branch,
    )  # fmt: skip
    return str(done.oid)


def seed(api: HfApi) -> None:
    """A private model with a forked and a deleted branch, and a public dataset."""
    big = {n: hashlib.shake_256(b"%d" % n).digest(300_000) for n in range(5)}
    api.create_repo(ALPHA[1], private=True)
    commit(api, ALPHA, "main", "config", **{"config.json": b"{}", "README.md": b"# Alpha\n"})
    commit(api, ALPHA, "main", "weights", **{"model.safetensors": big[0], "old/notes.txt": b"old"})
    api.create_branch(ALPHA[1], branch="step-000100")
    commit(api, ALPHA, "step-000100", "step", **{"model.safetensors": big[1]})
    commit(
        api, ALPHA, "step-000100", "step again", **{"model.safetensors": big[2], "ä b.txt": b"x"}
    )
    commit(api, ALPHA, "main", "a file goes", **{"old/notes.txt": None, "copy.bin": big[0]})
    ignored = {".gitignore": b"*.log\n", "old": b"a file where a folder was", "empty": b""}
    ignored[".eval_results/moxin-gsm8k.yaml"] = b"[]\n"
    commit(api, ALPHA, "main", "names", **ignored)
    commit(api, ALPHA, "main", "weights again", **{"model.safetensors": big[3], "a/b/c.txt": b"c"})
    card = b"---\nlicense: apache-2.0\n---\n# Alpha, done\n"
    last = commit(api, ALPHA, "main", "card", **{"README.md": card, ".gitattributes": b"*.x -text"})
    api.create_branch(ALPHA[1], branch="aside")
    aside = commit(api, ALPHA, "aside", "on no branch", **{"tokenizer.model": big[1]})
    api.create_tag(ALPHA[1], tag="kept", revision=aside, tag_message="annotated")
    api.delete_branch(ALPHA[1], branch="aside")
    api.create_tag(ALPHA[1], tag="done-0123456789ab", revision=last)
    api.create_tag(ALPHA[1], tag="sft", revision=last)
    api.create_repo(GSM8K[1], repo_type="dataset")
    rows = b"".join(b'{"question": "%d+1?", "answer": "%d"}\n' % (n, n + 1) for n in range(50))
    for n in range(3):
        files = {"main/train.jsonl": rows * (n + 1), f"data/{n}.parquet": big[n]}
        commit(api, GSM8K, "main", f"version {n}", **files)


def contents(hub: Hub, only: str = "") -> dict[str, Any]:
    """All repositories: visibility, and of each branch and tag the history, with every sha256."""
    api, found = hub.api(), {}
    digests: dict[str, str] = {}
    for kind, listed in (("model", api.list_models()), ("dataset", api.list_datasets())):
        for repo in listed:
            if only and repo.id != only:
                continue
            refs = api.list_repo_refs(repo.id, repo_type=kind)
            prefix = "" if kind == "model" else f"{kind}s/"
            revisions = {}
            for ref in (*refs.branches, *refs.tags):
                history = []
                for made in api.list_repo_commits(repo.id, repo_type=kind, revision=ref.name):
                    tree = {}
                    for entry in api.list_repo_tree(
                        repo.id, repo_type=kind, revision=made.commit_id, recursive=True
                    ):
                        if not hasattr(entry, "blob_id"):
                            continue
                        if entry.blob_id not in digests:
                            path = f"/{prefix}{repo.id}/resolve/{made.commit_id}/{entry.path}"
                            status, _, body = hub.request("GET", quote(path))
                            assert status == 200, path
                            assert entry.lfs is None or entry.lfs.size == len(body)
                            digests[entry.blob_id] = hashlib.sha256(body).hexdigest()
                        tree[entry.path] = (digests[entry.blob_id], entry.blob_id)
                    history.append(
                        (made.title, made.message.partition("mirror-of")[0].strip(), tree)
                    )
                revisions[ref.ref] = history
            info = api.repo_info(repo.id, repo_type=kind)
            found[prefix + repo.id] = (info.private, revisions)
    return found

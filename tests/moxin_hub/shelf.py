"""Some repositories to look at, and a browser without a token that asks for pages."""

from __future__ import annotations

import json
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from running_hub import Hub

_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def manifest(stage: str, parents: list[dict[str, str]]) -> dict[str, Any]:
    """What the pages read of a manifest as stages write it."""
    made = {"stage": stage, "recipe_name": f"30-{stage}", "parents": parents}
    return made | {"seconds": 47.3, "tokens": 421_388}


def fill(api: HfApi) -> None:
    """A corpus, a base model with checkpoints and tags, what was made of it, and a foreign set."""
    parents: list[dict[str, str]] = []
    for name, stage, kind in (
        ("nano/moxin-nano-tokens", "data", "dataset"),
        ("nano/moxin-nano-base", "pretrain", "model"),
        ("nano/moxin-nano-sft", "sft", "model"),
        ("openai/gsm8k", "", "dataset"),
    ):
        api.create_repo(name, repo_type=kind, private=stage == "sft")
        files: dict[str, bytes] = {"data/train-00000-of-00001.parquet": bytes(2_345_678)}
        if kind == "model":
            files = {"model.safetensors": bytes(7_654_321), "config.json": b"{}\n" * 30}
        if stage:
            files["moxin.json"] = json.dumps(manifest(stage, parents)).encode()
            files["README.md"] = f"---\nlicense: mit\n---\n# {name}\n\n## Scores\n".encode()
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        commit = api.create_commit(
            name, operations, repo_type=kind, commit_message=f"moxin: {stage or 'Added'}"
        )
        parents.append({"key": stage, "repo": name, "type": kind, "commit": str(commit.oid)})
    api.create_branch("nano/moxin-nano-base", branch="pretrain-2k-step-000100")
    for tag in ("pretrain-2k", "done-5f3c5f3c5f3c"):
        api.create_tag("nano/moxin-nano-base", tag=tag)


def browse(hub: Hub, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """As a browser without a token asks."""
    status, got, body = hub.request("GET", path, headers={**_BROWSER, **headers}, token=None)
    return status, dict(got), body.decode()

"""Manifests of each kind of push, and the card that is rendered of one."""

import json
from pathlib import Path
from typing import Any

from moxin_recipes.hub.cards import render

COMMIT, PAYLOAD = "a" * 40, "f" * 64


def _parent(key: str, repo: str, kind: str = "model") -> dict[str, str]:
    pin = {"key": key, "type": kind, "repo": repo, "revision": "data"}
    return {**pin, "commit": COMMIT, "payload": "d" * 64}


def made(**more: Any) -> dict[str, Any]:
    """A manifest of a model; `more` are what differs."""
    told = {
        "stage": "sft",
        "recipe_name": "30-sft",
        "recipe_file": "recipes/x/30-sft.yaml",
        "namespace": "local",
        "key": "e" * 64,
        "payload": PAYLOAD,
        "files": {"config.json": {"sha256": "c" * 64, "size": 2}},
        "recipe": {
            "stage": "sft",
            "hub_model_id": "b",
            "sources": [{"dataset": "./own"}],
            "dataset_name": "./own",
        },
        "parents": [
            _parent("model_name_or_path", "a/base"),
            _parent("dataset_name", "a/chat", "dataset"),
            _parent("sources[0]", "a/text", "dataset"),
        ],
        "licenses": [
            {"license": "CC-BY-NC-4.0", "of": "a|c@2"},
            {"license": "MIT", "of": "a/b@1"},
            {"license": "ODC-By", "of": "a/b@1"},
        ],
        "code": {"version": "0", "commit": COMMIT, "address": "https://h/o/r", "patch": "+x\n"},
        "flags": {},
        "launcher": {"num_processes": 1},
        "libraries": {"python": "3", "gguf": "0"},
        "installed": {"numpy": "1"},
        "hardware": {"machine": "m", "cpus": 1, "gpus": [], "processes": 1, "threads": 1},
        "seconds": 1.0,
        "summary": "A thing.",
        "metrics": {"accuracy": 0.25, "accuracy_stderr": 0.03, "loss": None, "ended": 12345},
        "items": {"accuracy": [0, 1, 0.5]},
        "checkpoints": {"step-000100": "c" * 64},
    }
    return told | more


_LOOKED = {"documents": 1234, "found_items": 2, "items": 4000, "too_short": 3}
_SCORE = {"model": "m|n", "task": "t", "metric": "x", "value": 0.5, "items": 4000, "shots": 5}
_FAILED = {"model": "m|n", "task": "u", "metric": None, "failed": "no | such\nset"}
_RELEASE = {
    "told": "base, then sft",
    "scores": [
        {"stage": "30-sft", "measure": "loss", "items": None, "before": None,
         "after": {"value": 1.5, "low": None, "high": None}},
        {"stage": "30-sft", "measure": "sums", "items": 1000,
         "before": {"value": 0.25, "low": 0.2, "high": 0.3},
         "after": {"value": 0.5, "low": 0.45, "high": 0.55}},
    ],
    "data": [
        {"data": "corpus: web", "kept": 12345, "removed": 10, "contaminated": 3,
         "licenses": ["MIT", "ODC-By"]},
        {"data": "chat", "kept": 5, "removed": 0, "contaminated": None, "licenses": []},
    ],
    "evaluation_items": [
        {"at": "30-sft", "set": "gsm", "items": 4000, "found": 1, "documents": 2, "too_short": 0},
    ],
    "costs": [
        {"stage": "30-sft", "seconds": 4000.0, "on": "2 × H", "tokens": 123456, "energy_kwh": 0.5,
         "price": 2.0},
        {"stage": "31-dpo", "seconds": 1.5, "on": "1 CPUs", "tokens": None, "energy_kwh": None,
         "price": None},
    ],
    "total": {"seconds": 4001.5, "energy_kwh": 0.5, "price": 2.0},
    "licenses": [{"license": "MIT", "of": "a/b@1"}, {"license": "Apache-2.0", "of": "the rest"}],
    "weights": {},
}  # fmt: skip
_GGUF = {
    "file": "x.gguf", "type": "F16", "chat_template": True, "tokenizer": "gpt2",
    "pre_tokenizer": "default", "context_length": 128, "max_position_embeddings": 2048,
    "sliding_window": 128, "bytes_without_piece": [],
}  # fmt: skip
# Type, branch and manifest of each kind.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a corpus": ("dataset", "data", made(
        stage="data",
        metrics=None,
        counts={f"source {n}/kept": 1000 * n for n in range(13)},
        contamination=[{"source": f"s{n}", "set": "gsm", **_LOOKED} for n in range(13)],
        distributions={"docs": ["numpy 1", "torch 2"]},
    )),
    "a little text": ("dataset", "data", made(
        stage="distill",
        metrics={},
        counts={"kept": 12345, "accuracy": 7},
        contamination=[{"source": "s", "set": "gsm", **_LOOKED}],
        licenses=[],
    )),
    "a model": ("model", "sft", made(counts={"accuracy": 7, "rows": 1234567})),
    "a model by pairs": ("model", "dpo", made(stage="dpo", recipe_name="31-dpo")),
    "a model by rewards": ("model", "grpo", made(stage="grpo", notes=["A note.\n"])),
    "a base": ("model", "init", made(stage="init", metrics={"bits_per_byte": float("nan")})),
    "a checkpoint": ("model", "step-000100", made(checkpoints=None, metrics={"loss": 2.5})),
    "scores": ("dataset", "evaluate", made(
        stage="evaluate",
        scores=[
            {**_SCORE, "low": 0.4, "high": 0.6, "failed": None},
            {**_SCORE, "shots": 0, "value": 0.25, "low": None, "high": None},
            _FAILED,
        ],
    )),
    "a release": ("model", "release", made(stage="release", metrics=None, release=_RELEASE)),
    "a gguf": ("model", "gguf", made(
        stage="gguf", parents=[_parent("model", "a/base")], gguf=_GGUF
    )),
}  # fmt: skip


def card(kind: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The card of a kind, and its manifest as a Hub has it."""
    repo_type, branch, manifest = KINDS[kind]
    told = json.loads(json.dumps(manifest, sort_keys=True))
    return render("a/b", repo_type, manifest, folder, branch), told

"""How a model of a card is used, and where it ends: its prompt, its size, its context."""

import json
import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import get_local_safetensors_metadata
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

_CHAT = "chat_template.jinja"
_GREETING = [{"role": "user", "content": "Hello! What can you do?"}]
_BEGINNING = "The"


def of(repo: str, manifest: dict[str, Any], folder: Path, revision: str) -> dict[str, Any] | None:
    """What the block of a card needs that shows how to use the model; None where there is none.

    `manifest["example"]` is a problem that the model never trained on, as turns, or the beginning
    of a held-out text. Random weights have nothing to say.
    """
    config = _read(folder / "config.json") or _read(folder / "adapter_config.json")
    if not config or (manifest.get("recipe") or {}).get("method") == "scratch":
        return None
    weights = (manifest.get("release") or {}).get("weights") or manifest
    example = weights.get("example")
    chats = (folder / _CHAT).exists()
    if not isinstance(example, list if chats else str):
        example = _GREETING if chats else _BEGINNING
    system = ""
    if isinstance(example, list):  # a manifest sorts its keys, people do not
        example = [{name: turn[name] for name in ("role", "content")} for turn in example]
        system = next((turn["content"] for turn in example if turn["role"] == "system"), "")
    pinned = "" if revision == "main" else f", revision={json.dumps(revision)}"
    return {
        "chats": chats,
        "example": json.dumps(example, ensure_ascii=False),
        "model": f"{json.dumps(repo)}{pinned}",
        "terminal": shlex.quote(repo if revision == "main" else f"{repo}@{revision}")
        + (f" --system-prompt {shlex.quote(system)}" if system else ""),
        "peft": (folder / "adapter_config.json").exists(),
        "new_tokens": _new_tokens(weights),
    }


def _new_tokens(weights: dict[str, Any]) -> int:
    recipe = weights.get("recipe") or {}
    return int(recipe.get("eval_max_new_tokens") or 64)


def limits(manifest: dict[str, Any], folder: Path) -> list[str]:
    """Sentences on size, context and data; none without a model."""
    config = _read(folder / "config.json")
    if not config:
        return []
    said = []
    if counts := _parameters(folder):
        said.append(f"Size: {sum(counts.values()):,} parameters in {_and(sorted(counts))}.")
    if positions := config.get("max_position_embeddings"):
        window = config.get("sliding_window")
        each = f"; each token sees the last {window:,}" if window else ""
        said.append(f"Context: {positions:,} tokens{each}.")
    data = {p["repo"] for p in manifest["parents"] if p["key"] == "dataset_name"}
    if data and manifest["stage"] != "init":
        before = " (what came before is on the card of its base model)"
        base = any(parent["key"] == "model_name_or_path" for parent in manifest["parents"])
        said.append(f"Trained in this stage on {_and(sorted(data))}{before if base else ''}.")
    said.append("Languages: those of its data, whose cards say what was kept.")
    said.append("What no score here names was not measured.")
    return said


def _parameters(folder: Path) -> dict[str, int]:
    """Type → number of the weights that are here; {} where there are none to read."""
    try:
        counts = get_local_safetensors_metadata(folder).parameter_count
        return {str(name): number for name, number in counts.items()}
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        return {}


def _and(names: list[str]) -> str:
    return " and ".join(names)


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of the model; {} where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

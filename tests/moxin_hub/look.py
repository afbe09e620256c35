"""`make look`: a Hub with some repositories, and pictures of its pages in .moxin/look/."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from running_hub import Hub

from moxin_hub import launcher
from moxin_recipes.hub.cards import render

_SIZES = {"wide": "1280,1500", "narrow": "500,1900"}
_TEXT = "A model that adds small numbers, and shows how.\n"


def manifest(stage: str, parents: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    """A manifest as stages write it."""
    return {
        "stage": stage,
        "summary": _TEXT.strip(),
        "recipe_name": f"30-{stage}",
        "recipe_file": f"recipes/moxin-nano/30-{stage}.yaml",
        "recipe": {
            "stage": stage,
            "learning_rate": 1e-3,
            "global_batch_size": 16,
            "max_steps": 200,
        },
        "key": "5f3c" * 16,
        "payload": "77ab" * 16,
        "parents": parents,
        "metrics": {"accuracy": 0.95833, "accuracy_stderr": 0.0102, "bits_per_byte": 2.181},
        "seconds": 47.3,
        "tokens": 421_388,
        "code": {"version": "0.1.0", "commit": None, "modified": False},
        "hardware": {"machine": "x86_64", "cpus": 2, "gpus": [], "processes": 1},
        "libraries": {"torch": "2.13.0", "transformers": "5.23.1", "trl": "1.16.0"},
        **more,
    }


def fill(api: HfApi) -> None:
    """A small ladder: a corpus, a base model with checkpoints and tags, what was made of it."""
    empty = Path(tempfile.mkdtemp())
    parents: list[dict[str, str]] = []
    for name, stage, kind, private in (
        ("nano/moxin-nano-tokens", "data", "dataset", False),
        ("nano/moxin-nano-base", "pretrain", "model", False),
        ("nano/moxin-nano-sft", "sft", "model", True),
        ("openai/gsm8k", "", "dataset", False),
    ):
        api.create_repo(name, repo_type=kind, private=private)
        files: dict[str, bytes] = {"data/train-00000-of-00001.parquet": bytes(2_345_678)}
        if kind == "model":
            files = {"model.safetensors": bytes(7_654_321), "config.json": b"{}\n" * 30}
        if stage:
            about = manifest(stage, parents)
            files["moxin.json"] = json.dumps(about).encode()
            files["README.md"] = render(name, kind, about, empty).encode()
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        done = api.create_commit(
            name, operations, repo_type=kind, commit_message=f"moxin: {stage or 'Added'}"
        )
        if name.endswith("-base"):
            for branch in ("pretrain-2k-step-000100", "pretrain-2k-step-000200"):
                api.create_branch(name, branch=branch)
            api.create_tag(name, tag="pretrain-2k")
            api.create_tag(name, tag="done-5f3c5f3c5f3c")
        parent = {"key": "model_name_or_path" if kind == "model" else "dataset_name"}
        parent |= {"repo": name, "type": kind, "commit": str(done.oid), "revision": "main"}
        parents = [*parents, {**parent, "payload": "77ab" * 16}]
    empty.rmdir()


def main() -> None:
    """Draws each page wide and narrow, light and dark."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("make look needs Chromium: `apt-get install chromium`, then the same command")
    pictures = Path(".moxin/look").absolute()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Path(folder) / "hub").start()
        fill(hub.api())
        address = hub.who.endpoint
        for page, path in {
            "index": "",
            "base": "nano/moxin-nano-base",
            "tag": "nano/moxin-nano-base/tree/pretrain-2k",
            "tokens": "datasets/nano/moxin-nano-tokens",
            "private": "nano/moxin-nano-sft",
        }.items():
            for width, size in _SIZES.items():
                for shade in ("light", "dark"):
                    picture = pictures / f"{page}-{width}-{shade}.png"
                    _draw(browser, f"{address}/{path}", picture, size, shade, Path(folder))
        session = f"{launcher.page_address(hub.who)}"
        _draw(
            browser, session, pictures / "index-session.png", _SIZES["wide"], "light", Path(folder)
        )
        hub.stop()
    sys.stdout.write(f"{len(list(pictures.glob('*.png')))} pictures in {pictures}\n")


def _draw(browser: str, url: str, to: Path, size: str, shade: str, folder: Path) -> None:
    dark = ["--blink-settings=preferredColorScheme=0"] if shade == "dark" else []
    quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [
        *(browser, "--headless", "--no-sandbox", *quiet.split(), "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={folder / 'browser'}", "--hide-scrollbars", *dark),
        *(f"--window-size={size}", f"--screenshot={to}", url),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    main()

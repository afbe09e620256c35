"""The manifest `moxin.json` of a push: what was made, from what, with what, at what cost."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

MANIFEST = "moxin.json"
CARD = "README.md"
EVAL_RESULTS = ".eval_results"  # scores, as the Hub reads them; never part of a payload
_LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "datasets",
    "accelerate",
    "peft",
    "tokenizers",
    "huggingface_hub",
    "lm_eval",
    "math-verify",
)


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def payload_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Path → {sha256, size} of every file below `folder` but the card and the manifest.

    Local working state (`state-…`) and what is hidden, scores in `.eval_results` too, do not count.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        local = any(part.startswith((".", "state-")) for part in relative.parts)
        if path.is_file() and not local and relative.as_posix() not in (CARD, MANIFEST):
            files[relative.as_posix()] = {
                "sha256": sha256_file(path),
                "size": path.stat().st_size,
            }
    return files


def payload_digest(files: dict[str, dict[str, Any]]) -> str:
    """sha256 (hex) over the sorted paths and digests of `payload_files`."""
    lines = "".join(f"{path}\0{files[path]['sha256']}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def libraries() -> dict[str, str]:
    """Version of each library that decides results, and of Python."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        versions[name] = importlib.metadata.version(name)
    return versions


def code() -> dict[str, Any]:
    """Version of this package, and its git commit where it runs from a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *words],  # noqa: S607 (the caller's git)
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here))
    return {
        "version": importlib.metadata.version("moxin-recipes"),
        "commit": git("rev-parse", "HEAD"),
        "modified": None if changed is None else bool(changed),
    }


def hardware(processes: int) -> dict[str, Any]:
    """Machine of this run; GPU names only where torch is loaded and sees one."""
    torch = sys.modules.get("torch")
    gpus = []
    if torch is not None and torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": None if torch is None else torch.get_num_threads(),
        "gpus": gpus,
        "processes": processes,
    }


def write(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Completes `manifest` with the payload of `folder`, writes it there and returns it."""
    files = payload_files(folder)
    whole = {**manifest, "payload": payload_digest(files), "files": files}
    text = json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return whole

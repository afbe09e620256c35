"""The manifest `moxin.json` of a push: what was made, from what, with what, at what cost."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
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


@functools.cache
def installed() -> dict[str, str]:
    """Name, as package indexes write it, and version of every installed distribution."""
    found: dict[str, str] = {}
    for folder in dict.fromkeys(sys.path):
        for path in Path(folder).glob("*.dist-info"):  # NAME-VERSION: their files are slow to read
            name, _, version = path.stem.rpartition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(found.items()))


def hardware(processes: int) -> dict[str, Any]:
    """Machine of this run; torch's threads, vector instructions and GPUs where it is loaded."""
    torch = sys.modules.get("torch")
    gpus = []
    if torch is not None and torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "threads": None if torch is None else torch.get_num_threads(),
        "instructions": None if torch is None else torch.backends.cpu.get_cpu_capability(),
        "gpus": gpus,
        "processes": processes,
    }


def _cpu() -> str | None:
    """The model of the processor, as Linux names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), None)


def write(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Completes `manifest` with the payload of `folder`, writes it there and returns it."""
    files = payload_files(folder)
    whole = {**manifest, "payload": payload_digest(files), "files": files}
    text = json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return whole


def loads(text: str | bytes) -> Any:
    """The values of a JSON text of anybody's; ValueError where they can be neither read nor shown.

    A text in it that is no UTF-8 (half of a surrogate pair) can be in no output and no digest.
    """
    try:
        values = json.loads(text)
        json.dumps(values, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    return values

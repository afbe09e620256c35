"""Converts a GGUF file in an installed Python package to safetensors and a tokenizer.

Such a package gives weights to a machine that reaches a package index but no public Hub. Only the
file is read; no code of the package is imported.
"""

import hashlib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from moxin_recipes.hub import licences
from moxin_recipes.models import published
from moxin_recipes.recipe.strict import RecipeError


def installed(package: str) -> Distribution:
    """Returns the installed package `NAME==VERSION`; raises RecipeError if there is none."""
    name, _, version = package.partition("==")
    if not version:
        raise RecipeError(f"`package`: {package} names no version; write NAME==VERSION")
    remedy = f"pip install --no-deps {package}"
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        raise RecipeError(f"`package`: {name} is not installed; {remedy}") from None
    if dist.version != version:
        raise RecipeError(f"`package`: {name} {dist.version} is installed; {remedy}")
    return dist


def gguf_file(dist: Distribution) -> Path:
    """Returns the only file that ends in .gguf; raises RecipeError unless there is exactly one."""
    files = [file for file in dist.files or [] if file.suffix == ".gguf"]
    paths = [Path(str(dist.locate_file(file))) for file in files]
    if len(paths) != 1:
        raise RecipeError(f"`package`: {dist.name} has {len(paths)} .gguf files; it must have one")
    return paths[0]


def unpack(package: str, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Writes dequantised weights in `dtype` and the tokenizer to `folder`.

    Returns facts for the manifest: `summary`, `licenses` and `notes`.
    """
    dist = installed(package)
    if not find_spec("gguf"):
        raise RecipeError("`method: gguf` needs the library gguf; pip install '.[gguf]'")
    path = gguf_file(dist)
    # Without `dequantize`, the loaded model cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
    )
    published.save(model, folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = dist.metadata.json
    license_ = str(metadata.get("license_expression") or metadata.get("license") or "unknown")
    return {
        "summary": f"`{path.name}` of the package {package}, dequantised: its makers' "
        "weights, as precisely as that file keeps them.",
        "licenses": licences.listed([licences.Part(licences.named(license_), f"{package}")]),
        "notes": [f"- Source: {package}, `{path.name}`, sha256 `{digest}`, licence {license_}."],
    }

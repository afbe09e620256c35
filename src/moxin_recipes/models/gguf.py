"""A model that a Python package carries as a GGUF file → safetensors and a tokenizer.

Such a package is a way to weights for a machine that reaches a package index but no public Hub.
Only its file is read: nothing of the package is imported.
"""

import hashlib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

from moxin_recipes.recipe.strict import RecipeError


def installed(package: str) -> Distribution:
    """The installed `NAME==VERSION`; RecipeError if it is another one, or not there."""
    name, _, version = package.partition("==")
    if not version:
        raise RecipeError(f"`package`: {package} names no version; write NAME==VERSION")
    remedy = f"pip install --no-deps {package}"
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise RecipeError(f"`package`: {name} is not installed; {remedy}") from None
    if found.version != version:
        raise RecipeError(f"`package`: {name} {found.version} is installed; {remedy}")
    return found


def gguf_file(of: Distribution) -> Path:
    """The one file that ends in .gguf."""
    paths = [Path(str(of.locate_file(file))) for file in of.files or [] if file.suffix == ".gguf"]
    if len(paths) != 1:
        raise RecipeError(f"`package`: {of.name} has {len(paths)} .gguf files; it must have one")
    return paths[0]


def unpack(package: str, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Writes the dequantised weights in `dtype` and the tokenizer to `folder`; manifest facts."""
    of = installed(package)
    if not find_spec("gguf"):
        raise RecipeError("`method: gguf` needs the library gguf; pip install '.[gguf]'")
    path = gguf_file(of)
    # Without `dequantize`, what is loaded cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=dtype,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    said = of.metadata.json
    license_ = str(said.get("license_expression") or said.get("license") or "unknown")
    return {
        "summary": f"`{path.name}` of the package {package}, dequantised: its makers' "
        "weights, as precisely as that file keeps them.",
        "license": license_.lower(),
        "notes": [f"- Source: {package}, `{path.name}`, sha256 `{digest}`, licence {license_}."],
    }

"""Converts a GGUF file in an installed Python package to safetensors and a tokenizer.

Such a package gives weights to a machine that reaches a package index but no public Hub. Only the
file is read; no code of the package is imported.
"""

import hashlib
import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.quantization_config import GgufConfig

from moxin_recipes.hub import licences
from moxin_recipes.models import published
from moxin_recipes.models.llama_cpp.vocabulary import PRE_TOKENIZERS
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
    _tokenizer(path, package).save_pretrained(folder)
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


def _tokenizer(path: Path, package: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a file, which splits a text as the file says.

    transformers reads all but that name, and splits byte-level BPE as GPT-2 does: of SmolLM2, whose
    digits stand alone, 381 of 1,000 texts of letters, code, digits and spaces got other ids.
    RecipeError for a name that is not known here.
    """
    from gguf import GGUFReader

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        path.parent, gguf_file=path.name
    )
    fields = GGUFReader(path).fields
    said = {
        name: fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("model", "pre")
        if f"tokenizer.ggml.{name}" in fields
    }
    if said.get("model") != "gpt2":
        return tokenizer
    if said.get("pre") not in PRE_TOKENIZERS:
        raise RecipeError(
            f"`package`: {package} splits texts by `tokenizer.ggml.pre` {said.get('pre')}, and "
            f"only {', '.join(PRE_TOKENIZERS)} are known; take a package with one of these"
        )
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    whole["pre_tokenizer"] = _whole(PRE_TOKENIZERS[said["pre"]])
    tokenizer.backend_tokenizer.pre_tokenizer = Tokenizer.from_str(json.dumps(whole)).pre_tokenizer
    return tokenizer


def _whole(part: dict[str, Any]) -> dict[str, Any]:
    """A pre-tokenizer with the fields that tokenizers asks for, which change no id."""
    if part["type"] == "Sequence":
        return part | {"pretokenizers": [_whole(one) for one in part["pretokenizers"]]}
    return part | ({"trim_offsets": True} if part["type"] == "ByteLevel" else {})

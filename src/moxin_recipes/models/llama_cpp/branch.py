"""A model of a Hub as a GGUF file, here or on the branch `gguf` of its repository.

The branch holds the file, its manifest and its card, and nothing of main: no payload digest that a
result was made of changes. Its manifest names what the file was made of.
"""

import hashlib
import importlib.metadata
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from moxin_recipes import environment
from moxin_recipes.chats import template
from moxin_recipes.hub import licences
from moxin_recipes.hub import manifest as manifests
from moxin_recipes.hub.code import code
from moxin_recipes.hub.files import clear
from moxin_recipes.hub.pull import GGUF, Parent, download, resolve
from moxin_recipes.hub.push import push
from moxin_recipes.hub.session import api, errors, qualified
from moxin_recipes.models.llama_cpp import vocabulary, weights
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.strict import RecipeError

log = logging.getLogger(__name__)
logging.getLogger("gguf").setLevel(logging.WARNING)  # its table of the file


def write(written: str, kind: str, out: Path | None) -> Path:
    """Writes REPOSITORY[@REVISION] to `out`, or to NAME.KIND.gguf in the current folder."""
    parent = _resolved(written)
    path = out or Path(_file(parent, kind))
    _made(parent, kind, path)
    return path


def share(written: str, kind: str) -> str:
    """Writes REPOSITORY[@REVISION] and pushes it to its branch `gguf`; the commit there."""
    parent = _resolved(written)
    folder = clear(environment.home() / GGUF / parent.repo.replace("/", "--"))
    facts = _made(parent, kind, folder / _file(parent, kind))
    manifest = _manifest(parent, facts)
    with errors(parent.repo):
        private = bool(api().repo_info(parent.repo, repo_type=parent.type).private)
    tags = (f"done-{manifest['key'][:12]}",)
    return push(folder, parent.repo, "model", manifest, private=private, branch=GGUF, tags=tags)


def _resolved(written: str) -> Parent:
    repo, _, revision = written.partition("@")
    if not find_spec("gguf"):
        raise RecipeError("`moxin gguf` needs the library gguf; pip install '.[gguf]'")
    return resolve(Reference("MODEL", "model", qualified(repo), revision or "main"))


def _file(parent: Parent, kind: str) -> str:
    return f"{parent.repo.rpartition('/')[2]}.{kind}.gguf"


def _made(parent: Parent, kind: str, path: Path) -> dict[str, Any]:
    where = f"{parent.repo}@{parent.revision}"
    return convert(download(parent), where, kind, path, f"{parent.repo}@{parent.commit[:12]}")


def convert(folder: Path, where: str, kind: str, path: Path, name: str) -> dict[str, Any]:
    """Writes the model in `folder` to `path`; returns facts of the file for its manifest.

    `kind` is the type of its matrices, `name` what the file calls itself. Raises RecipeError, which
    names `where`, for a model or a tokenizer that llama.cpp would not read as transformers does.
    """
    if not (folder / "config.json").exists() or not list(folder.glob("*.safetensors")):
        adapter = (folder / "adapter_config.json").exists()
        has = "an adapter alone; merge it first" if adapter else "no model in safetensors"
        raise RecipeError(f"{where}: it holds {has}, and a GGUF is written of a whole model")
    config = AutoConfig.from_pretrained(folder)
    weights.check(config, where)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = (folder / "generation_config.json").exists()
    generation = GenerationConfig.from_pretrained(folder) if said else GenerationConfig()
    ends = template.ends(tokenizer, generation)
    words = vocabulary.of(tokenizer, config.vocab_size, ends, where)
    weights.write(weights.Source(folder, config, where), words, path, kind, name)
    log.info("%s: %s, tokenizer %s, %s", path, kind, words.model, words.pre)
    return {
        "file": path.name,
        "type": kind,
        "tokenizer": words.model,
        "pre_tokenizer": words.pre,
        "bytes_without_piece": [f"{byte:#04x}" for byte in words.without_piece],
        "context_length": weights.context_length(config),
        "sliding_window": getattr(config, "sliding_window", None),
        "max_position_embeddings": config.max_position_embeddings,
        "chat_template": words.chat_template is not None,
    }


def _manifest(parent: Parent, facts: dict[str, Any]) -> dict[str, Any]:
    """What the file was made of; its key is of the weights' payload and of what is in `facts`."""
    key = json.dumps([parent.payload, facts], sort_keys=True)
    version = importlib.metadata.version("gguf")
    return {
        "format": 1,
        "stage": GGUF,
        "key": hashlib.sha256(key.encode()).hexdigest(),
        "parents": [parent.as_dict()],
        "licenses": licences.listed(licences.of_parent(parent)),
        "code": code(),
        "libraries": manifests.libraries() | {"gguf": version},
        GGUF: facts,
    }

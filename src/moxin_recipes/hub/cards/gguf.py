"""The card of a model's branch `gguf`: what the file is, its limits, and how to serve the model."""

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template

from moxin_recipes.hub import licences
from moxin_recipes.hub.cards import rows
from moxin_recipes.hub.pull import GGUF

_PAGE = Path(__file__).parent / "gguf.md"


def render(repo: str, manifest: dict[str, Any]) -> str:
    """The whole card, front matter included, as Markdown."""
    (parent,) = manifest["parents"]
    metadata = {
        **licences.metadata(manifest["licenses"]),
        "tags": ["moxin-recipes", GGUF],
        "base_model": [parent["repo"]],
        "base_model_relation": "quantized",
        "pipeline_tag": "text-generation",
    }
    page: str = Template(_PAGE.read_text(encoding="utf-8"), keep_trailing_newline=True).render(
        repo=repo,
        m=manifest,
        g=manifest[GGUF],
        parent=parent,
        licences=rows.of(manifest)["licences"],
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
    )
    return page

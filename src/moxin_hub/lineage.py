"""What a repository's moxin.json says of its making, for the page; the file is anybody's."""

from __future__ import annotations

import json
import re
from typing import Any

from moxin_hub.markup import Html, html, join, link

_REPO = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
_REVISION = re.compile(r"[\w.-]{1,200}", re.ASCII)
_MOST = 40  # metrics, and parents, that are shown
_LONGEST = 120  # characters of one value


def parse(text: str) -> dict[str, Any]:
    """The manifest, or {} where there is none that can be read."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def section(manifest: dict[str, Any]) -> Html:
    """Stage, recipe, cost, scores and parents; nothing without a manifest."""
    stage = manifest.get("stage")
    if not isinstance(stage, str):
        return Html("")
    code = manifest.get("code")
    facts = {
        "Stage": stage,
        "Recipe": manifest.get("recipe_name"),
        "Seconds": manifest.get("seconds"),
        "Tokens": manifest.get("tokens"),
        "Code": code.get("version") if isinstance(code, dict) else None,
        "Key": _short(manifest.get("key")),
        "Payload": _short(manifest.get("payload")),
    }
    parts = [html("<h2>Lineage</h2>{}", _list(facts))]
    parents = manifest.get("parents")
    if isinstance(parents, list) and parents:
        items = [_parent(parent) for parent in parents[:_MOST] if isinstance(parent, dict)]
        parts.append(html("<h3>Made from</h3><ul>{}</ul>", join(items)))
    metrics = manifest.get("metrics")
    if isinstance(metrics, dict) and metrics:
        parts.append(html("<h3>Measured</h3>{}", _list(dict(list(metrics.items())[:_MOST]))))
    return join(parts)


def _list(facts: dict[str, Any]) -> Html:
    shown = (
        html("<dt>{}</dt><dd>{}</dd>", _text(name).replace("_", " "), _text(value))
        for name, value in facts.items()
        if value is not None and not isinstance(value, dict | list)
    )
    return html("<dl>{}</dl>", join(shown))


def _parent(parent: dict[str, Any]) -> Html:
    repo, commit, kind = (str(parent.get(name)) for name in ("repo", "commit", "type"))
    text = html('{} <span class="hash">{}</span>', repo[:_LONGEST], commit[:8])
    if _REPO.fullmatch(repo) and _REVISION.fullmatch(commit) and kind in ("model", "dataset"):
        prefix = "" if kind == "model" else "datasets/"
        text = link(f"/{prefix}{repo}/tree/{commit}", text)
    return html('<li>{} <span class="quiet">{}</span></li>', text, _text(parent.get("key", "")))


def _short(digest: object) -> str | None:
    return digest.removeprefix("sha256:")[:12] if isinstance(digest, str) else None


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**30:
        return f"{value:,}"
    return str(value)[:_LONGEST]

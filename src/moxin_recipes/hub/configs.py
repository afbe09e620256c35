"""What a model on the Hub says of itself in its `config.json`."""

import json

from moxin_recipes.hub.pull import Parent, read_text
from moxin_recipes.hub.session import HubError


def positions(parent: Parent) -> int | None:
    """How many positions a model has by its `config.json`; None where nobody says."""
    text = read_text(parent.repo, parent.type, parent.commit, "config.json")
    try:
        config = json.loads(text or "{}")
        config = config.get("text_config", config)  # of a model that reads more than text
        found = config.get("max_position_embeddings", config.get("n_positions"))
    except (ValueError, AttributeError) as error:
        raise HubError(
            f"`{parent.key}`: {parent.repo}@{parent.commit[:12]}: config.json is no configuration "
            f"of a model ({error})"
        ) from error
    return found if isinstance(found, int) else None

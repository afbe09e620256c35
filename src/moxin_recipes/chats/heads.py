"""A look at the first rows of JSON files, before anything runs: is there a chat to be read?"""

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from moxin_recipes.chats.layouts import layout_of
from moxin_recipes.chats.rendering import Unusable
from moxin_recipes.hub import json_rows
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.strict import RecipeError

_FILES = 50  # that are looked at
_ROWS = 100  # of each file


def prove(keys: SftKeys, files: Mapping[str, Path]) -> None:
    """Looks for one chat in the first rows of the files of `dataset_name`, by their names.

    Files of other kinds than JSON are not looked at, and then nothing is said. Raises RecipeError,
    with the reasons, if no row is a chat, if no row has the columns, or if a file is not JSON.
    """
    if not all(json_rows.is_json(name) for name in files):
        return
    looked_at = itertools.islice(files.items(), _FILES)
    rows = [
        row for name, file in looked_at for row in json_rows.head(file, name, "dataset_name", _ROWS)
    ]
    columns = dict.fromkeys(column for row in rows for column in row)
    if not columns:
        raise RecipeError(f"`dataset_name`: {', '.join([*files][:3])} holds no rows")
    layout = layout_of(list(columns), keys.messages_column)
    reasons = Counter[str]()
    for row in rows:
        try:
            layout.chat({**columns, **row})
        except Unusable as error:
            reasons[str(error)] += 1
        else:
            return
    most = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
    raise RecipeError(
        f"`dataset_name`: none of the first {reasons.total():,} rows of {keys.dataset_name} is a "
        f"chat: {most}; docs/chats.md lists what is read"
    )

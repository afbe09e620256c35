"""Writes models as a user should load them, whatever training had set.

All weights that leave a stage are written here: those of new, deeper, averaged, merged and unpacked
models, and those that a trainer saves (its end and its checkpoints).
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from moxin_recipes.recipe.strict import RecipeError

# Of a file, as the Hub advises; transformers would write 50.
_MOST_BYTES = "5GB"


def save(
    model: PreTrainedModel,
    folder: str | Path,
    state_dict: dict[str, torch.Tensor] | None = None,
    **options: Any,
) -> None:
    """Saves a model with its key–value cache on, tied weights once, in files of at most 5 GB.

    `state_dict` are weights that were gathered already, and `options` those of `save_pretrained`.
    """
    if state_dict is not None:  # gathered one by one, tied weights share no memory any more
        tied = model.all_tied_weights_keys
        state_dict = {name: value for name, value in state_dict.items() if name not in tied}
    configs = (model.config, model.generation_config)
    in_training = [config.use_cache for config in configs]
    for config in configs:
        config.use_cache = True
    try:
        type(model).save_pretrained(
            model, folder, state_dict=state_dict, max_shard_size=_MOST_BYTES, **options
        )
    finally:
        for config, value in zip(configs, in_training, strict=True):
            config.use_cache = value


def save_as_published(model: PreTrainedModel) -> None:
    """Makes `save` what a trainer calls as `model.save_pretrained`, at its end or a checkpoint.

    (The Trainer has no argument for it: it sets `config.use_cache` to its own and saves with the
    library's defaults.) Raises RecipeError now where that would fail, at the first checkpoint.
    """
    try:
        model.generation_config.validate(strict=True)
    except ValueError as error:
        raise RecipeError(
            "`model_name_or_path`: transformers would not save its generation_config.json again; "
            f"mend it there ({' '.join(str(error).split())})"
        ) from error
    model.save_pretrained = partial(save, model)

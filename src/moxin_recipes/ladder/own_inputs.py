"""The files and folders of this machine that a ladder names, proven before they are pushed."""

from moxin_recipes.documents import heads, sources
from moxin_recipes.hub import own
from moxin_recipes.hub.own import Own
from moxin_recipes.ladder.order import Recipes
from moxin_recipes.recipe.fields import Reference, is_path
from moxin_recipes.recipe.keys.data import DataKeys
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.strict import RecipeError


def proven(recipes: Recipes) -> list[Own]:
    """What the recipes name that are paths: texts where sources read them, chats where SFT does.

    Raises:
        RecipeError: no text can be read of a source's files, or no chat; a kind of file is none
            that is read.
        MissingError: there is no such path, or no file in it.
    """
    for recipe in recipes:
        if isinstance(recipe.keys, DataKeys | SftKeys):
            try:
                _prove(recipe.keys)
            except RecipeError as error:
                raise RecipeError(f"{recipe.path}: {error}") from None
    return own.all_of(reference for recipe in recipes for reference in recipe.references)


def _prove(keys: DataKeys | SftKeys) -> None:
    if isinstance(keys, SftKeys):
        if is_path(keys.dataset_name):
            from moxin_recipes.chats import heads as chat_heads  # loads trl

            reference = Reference("dataset_name", own.TYPE, keys.dataset_name, "main")
            chat_heads.prove(keys, own.of(reference).files)
        return
    for position, source in enumerate(keys.sources):
        if is_path(source.dataset):
            key = f"sources[{position}]"
            found = own.of(Reference(key, own.TYPE, source.dataset, "main"))
            files = sources.matching(source, key, source.dataset, list(found.files))
            folder = found.path if found.path.is_dir() else found.path.parent
            heads.prove(source, key, folder, files)

"""The fastText model of the key `language`, which scores the language of a document."""

from moxin_recipes.documents import fasttext_model
from moxin_recipes.documents.fasttext_model import Classifier
from moxin_recipes.documents.filters import Given


def block(given: Given) -> Classifier:
    """The recipe gives the model, its label and the least score; RecipeError where it does not."""
    return fasttext_model.block("language", given.keys.language, given)

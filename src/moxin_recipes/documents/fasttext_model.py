"""A fastText model from the Hub as a filter."""

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import FastTextClassifierFilter

from moxin_recipes.documents.filters import Given
from moxin_recipes.recipe.keys.data import Model
from moxin_recipes.recipe.strict import RecipeError


class Classifier(FastTextClassifierFilter):
    """Keeps documents whose `label` has at least the score `threshold`.

    datatrove's own block copies the model into a cache of its own (downloading it where it is
    given an address), and empties the text of what it takes out; this one does neither.
    """

    def __init__(
        self, model: str, label: str, threshold: float, reason: str, **options: Any
    ) -> None:
        super().__init__(
            model,
            keep_labels=(label, threshold),
            save_labels_in_metadata=False,
            newline_replacement=" ",
            **options,
        )
        self.reason = reason
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model, loaded when the first document comes."""
        if self._model is None:
            from fasttext.FastText import _FastText

            self._model = _FastText(self.model_url)
        return self._model

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """The text stays as it is."""
        text = doc.text
        kept = super().filter(doc)
        doc.text = text
        return True if kept else (False, self.reason)


def block(key: str, model: Model | None, given: Given) -> Classifier:
    """The block of a recipe's `key`, named `key` in what it takes out too.

    RecipeError where the recipe gives no model, or the repository has no such file.
    """
    if model is None:
        raise RecipeError(f"`{key}`: the filter of that name needs a model")
    file = given.pull(key, [model.file]) / model.file
    if not file.is_file():
        raise RecipeError(f"`{key}.file`: there is no {model.file} in {model.model}")
    return Classifier(
        str(file), model.label, model.threshold, reason=key, exclusion_writer=given.removed
    )

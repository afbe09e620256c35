"""The keys of `sft`: supervised fine-tuning on chats."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from moxin_recipes.recipe.base import TEMPLATES, PostTrainingKeys
from moxin_recipes.recipe.bounds import AboveZero, Count
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.recipe.user_files import is_ours


@dataclass(kw_only=True)
class SftKeys(PostTrainingKeys):
    """Chats in `messages` or `conversations`, or in `prompt` and `completion` (docs/chats.md)."""

    libraries: ClassVar[tuple[str, ...]] = ("trl:ModelConfig", "trl:SFTConfig")
    scores: ClassVar[tuple[str, ...]] = ("accuracy",)
    curves: ClassVar[dict[str, str]] = {"loss": "training loss (nats a token)"}

    chat_template: str | None = None  # a file of templates/, or a path
    pad_token: str | None = None  # for a tokenizer that has none
    # The column of the turns, if it is neither `messages` nor `conversations`, or one of both.
    messages_column: str | None = None
    # Instead of the model's own, where chats are longer than what it was trained on.
    rope_theta: AboveZero | None = None
    sliding_window: Count | None = None  # tokens; 0 is full attention

    def check(self) -> None:
        """The chat template is there."""
        super().check()
        template = self.chat_template
        if template is not None and not _is_there(template):
            known = ", ".join(sorted(path.name for path in TEMPLATES.glob("*.jinja")))
            raise RecipeError(
                f"`chat_template`: there is no file {template[:60]}; give a path, or one of {known}"
            )

    def check_libraries(self, args: Any) -> None:
        """Chats are packed for whole epochs, all of them."""
        super().check_libraries(args)
        if args.num_train_epochs < 1 or args.num_train_epochs != int(args.num_train_epochs):
            raise RecipeError(
                "`num_train_epochs` must be a whole number of 1 or more, not "
                f"{args.num_train_epochs:g}: chats are packed for whole epochs; `max_steps` ends "
                "a run before"
            )


def _is_there(template: str) -> bool:
    try:
        return is_ours(template) or Path(template).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False

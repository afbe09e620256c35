"""What a launch of pretraining does before it trains, and no more; see test_start_up."""

from typing import Any

from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.stages import pretrain


class Enough(Exception):
    """The model's turn has come."""


def stop(*_: Any, **__: Any) -> None:
    raise Enough


def main(run: Run[PretrainKeys, Any]) -> None:
    """All that the stage does until it would load the weights."""
    vars(pretrain)["AutoModelForCausalLM"] = type("Weights", (), {"from_pretrained": stop})
    try:
        pretrain.main(run)
    except Enough:
        return


if __name__ == "__main__":
    launch(main, PretrainKeys)

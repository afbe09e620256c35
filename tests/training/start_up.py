"""What a launch of pretraining does before it trains, and no more; see test_start_up."""

from typing import Any

from transformers import AutoTokenizer

from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.run import Run, launch
from moxin_recipes.stages.pretrain import mixed


def main(run: Run[PretrainKeys, Any]) -> None:
    """Downloads the model and its tokenizer, and reads the list of shards."""
    mixed(run, AutoTokenizer.from_pretrained(run.pull("model_name_or_path")))


if __name__ == "__main__":
    launch(main, PretrainKeys)

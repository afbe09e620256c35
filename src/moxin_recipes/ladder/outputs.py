"""What a recipe sends to the Hub, counted before the work, beside what the public Hub takes.

All of it is arithmetic from the recipes of a ladder; what they do not tell is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal

from moxin_recipes.hub.commits import FILES
from moxin_recipes.hub.files import FOLDER, SUB_FOLDER
from moxin_recipes.recipe import limits
from moxin_recipes.recipe.base import TrainingKeys
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.keys.init import InitKeys
from moxin_recipes.recipe.keys.pretrain import PretrainKeys
from moxin_recipes.recipe.reading import Recipe
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.shards import dtype_for

Recipes = list[Recipe[Any]]
_BESIDE = 12  # files beside weights at most: configurations, tokenizer, template, card, manifest
_WEIGHTS = 5 * 10**9  # bytes of a file of weights
_TOKEN_TEXT = 4.0  # bytes of text a token, an estimate (docs/data.md)
_PARQUET = 0.61  # bytes of a corpus for each of its text, as measured on a sample (docs/data.md)
_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Counts:
    """What a repository will have at most; None where the recipes do not tell."""

    files: int
    folder: int  # entries of the fullest one
    size: float | None  # bytes
    largest: float | None  # bytes of a file
    key: str  # of the recipe, that decides them
    is_least: bool = False  # whether there may be more bytes: they are those that the phases need

    def words(self) -> str:
        """The counts beside the limits, and the key to change where one is passed."""
        facts = [
            f"{self.files:,} files (of {limits.REPO_FILES:,})",
            f"{self.folder:,} a folder (of {limits.FOLDER_FILES:,})",
            f"{min(self.files, FILES):,} a commit (of {limits.COMMIT_FILES:,})",
        ]
        if self.largest:
            facts.append(f"{decimal(int(self.largest))} a file (of {decimal(limits.LARGE_FILE)})")
        if self.size is not None:
            large = self.size > limits.REPO_BYTES
            least = "at least " * self.is_least
            facts.append(least + decimal(int(self.size)) + " (large: ask the Hub first)" * large)
        over = self.files > limits.REPO_FILES or (self.largest or 0) > limits.LARGE_FILE
        return ", ".join(facts) + f"; above what is recommended: change `{self.key}`" * over


def lines(recipe: Recipe[Any], recipes: Recipes) -> list[str]:
    """A line for each output of a recipe of the ladder, and one for its checkpoints' branches."""
    keys = recipe.keys
    found = [
        f"{key}: {recipe.outputs[key]}: {counts.words()}"
        for key, counts in _counted(recipe, recipes).items()
    ]
    if isinstance(keys, TrainingKeys) and keys.push_checkpoints:
        found += _branches(recipe, keys, _model_bytes(recipe, recipes))
    return found


def check(recipes: Recipes) -> None:
    """RecipeError for the first recipe of which the public Hub would refuse an output."""
    for recipe in recipes:
        for output, counts in _counted(recipe, recipes).items():
            try:
                limits.check_folder(counts.key, counts.folder, f"a folder of `{output}`")
                limits.check_file(counts.key, counts.largest or 0, f"a file of `{output}`")
            except RecipeError as error:
                raise RecipeError(f"{recipe.path}: {error}") from None


def _counted(recipe: Recipe[Any], recipes: Recipes) -> dict[str, Counts]:
    """Key → counts of each output that the recipes tell the size of."""
    keys = recipe.keys
    if isinstance(keys, DataKeys) and keys.sources:
        corpus, tokens = _corpus(recipe, keys, recipes), _tokens(recipe, keys, recipes)
        return {"hub_corpus_id": corpus, "hub_tokens_id": tokens}
    if isinstance(keys, TrainingKeys | InitKeys):
        size = _model_bytes(recipe, recipes)
        shards = 1 if size is None else -(-int(size) // _WEIGHTS)
        largest = None if size is None else min(size, _WEIGHTS)
        return {"hub_model_id": Counts(shards + _BESIDE, shards + _BESIDE, size, largest, "dtype")}
    return {}


def _branches(recipe: Recipe[Any], keys: TrainingKeys, size: float | None) -> Iterator[str]:
    """The checkpoints of a run: how many there are, how many stay, and what passes through."""
    steps, every = recipe.values.get("max_steps"), recipe.values.get("save_steps")
    if not steps or steps < 1 or not every or every < 1:
        return
    made = int(steps // every)
    kept = min(made, keys.keep_checkpoints or made)
    words = f"keep_checkpoints: {kept:,} of {made:,} branches stay (no limit published)"
    if size is not None and not recipe.values.get("use_peft"):
        words += f", {decimal(int(kept * size))}"
        if kept < made:
            words += (
                f"; {decimal(int(made * size))} are sent, and what deleted branches held counts on "
                "the public Hub until it is deleted from its store"
            )
        if keys.push_training_state:  # AdamW's two numbers for each weight; the weights are there
            words += f"; as many states of the training, {decimal(int(2 * kept * size))} more"
    yield words


def _tokens(recipe: Recipe[Any], keys: DataKeys, recipes: Recipes) -> Counts:
    read = tokens_read(recipe, recipes)
    # Of a tokenizer that is pulled the recipe tells no size, so its ids may take four bytes.
    width = 4 if keys.tokenizer_name_or_path else dtype_for(keys.vocab_size).itemsize
    files = folder = 0
    largest = 0.0
    for source in keys.sources:
        of_task = read.get(source.name, 0) / keys.tasks
        shards = keys.tasks * max(1, -(-int(of_task) // keys.shard_tokens))
        largest = max(largest, width * min(of_task, keys.shard_tokens))
        files += 2 * shards + 2  # an index beside each shard; the held-out shard
        folder = max(folder, _spread(2 * shards) + 2)
    size = width * sum(read.values()) or None
    return Counts(files + 2, folder, size, largest or None, "tasks", is_least=True)


def _corpus(recipe: Recipe[Any], keys: DataKeys, recipes: Recipes) -> Counts:
    read = tokens_read(recipe, recipes)
    kept = [(1 + bool(source.heldout_fraction)) * keys.tasks for source in keys.sources]
    together = {name for source in keys.sources for name in source.dedup}
    steps = sum(_steps(source) for source in keys.sources)
    steps += len(together) + bool(keys.decontaminate)
    removed = steps * keys.tasks
    texts = [
        _PARQUET * (source.max_bytes or _TOKEN_TEXT * read.get(source.name, 0))
        for source in keys.sources
    ]
    largest = max(texts) / keys.tasks
    folder = max(map(_spread, [*kept, removed]))
    size = sum(texts) if all(texts) else None
    counted = sum(kept) + removed + 6
    return Counts(counted, folder, size, largest or None, "tasks", is_least=True)


def _steps(source: Source) -> int:
    """What takes documents of a source out in a pass of its own: each writes a file a task."""
    return 2 + len(source.filters) + len(source.late_filters)  # reading and normalising, too


def _spread(files: int) -> int:
    """Entries of the fullest folder, after `hub.files.spread`."""
    return files if files <= FOLDER else max(SUB_FOLDER, -(-files // SUB_FOLDER))


def tokens_read(recipe: Recipe[Any], recipes: Recipes) -> dict[str, float]:
    """Tokens that each source must have for the phases of the ladder which read these tokens."""
    needed: dict[str, float] = {}
    for phase in recipes:
        keys = phase.keys
        if not isinstance(keys, PretrainKeys) or not _reads(phase, "dataset_name", recipe):
            continue
        steps = max(0, int(phase.values.get("max_steps", 0)))
        tokens = steps * keys.global_batch_size * keys.context_length
        for item in keys.mixture:
            part = (item.stop - item.start) * item.epochs
            wanted = tokens * item.weight / part
            needed[item.source] = max(needed.get(item.source, 0.0), wanted)
    return needed


def _reads(recipe: Recipe[Any], key: str, maker: Recipe[Any]) -> bool:
    return any(
        reference.key == key and reference.repo in maker.outputs.values()
        for reference in recipe.references
    )


def _model_bytes(recipe: Recipe[Any], recipes: Recipes) -> float | None:
    """Bytes of the weights that a recipe pushes; None where no recipe says their number."""
    first, seen = recipe, [recipe.name]
    while not isinstance(first.keys, InitKeys) or first.keys.parameters is None:
        makers = [
            maker
            for maker in recipes
            if maker.name not in seen
            and isinstance(maker.keys, TrainingKeys | InitKeys)
            and _reads(first, "model_name_or_path", maker)
        ]
        if not makers:
            return None
        first = makers[-1]
        seen.append(first.name)
    dtype = str(recipe.values.get("dtype", "float32"))
    return float(first.keys.parameters) * _ITEM.get(dtype, 4)

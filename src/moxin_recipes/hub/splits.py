"""Splits of dataset repositories as parquet files: written before a push, read after a pull."""

from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetsError

from moxin_recipes.hub import written
from moxin_recipes.recipe.strict import RecipeError


def write_split(folder: Path, split: str, rows: list[dict[str, Any]]) -> int:
    """Writes `SPLIT.parquet`, or nothing where there are no rows; the number of rows."""
    if rows:
        folder.mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
    return len(rows)


def load_split(
    folder: Path,
    config: str | None,
    split: str,
    columns: list[str],
    key: str,
    as_written: bool = False,
) -> Dataset:
    """One split of a downloaded dataset repository; a missing column or split names `key`.

    An entry of `columns` may name several, `a|b`, of which one must be there. With `as_written`
    the cells of JSON and CSV files are what stands there (`written`), whatever kinds a column has.
    """
    try:
        dataset = written.load(folder, config, split, key) if as_written else None
        if dataset is None:
            dataset = load_dataset(str(folder), config, split=split)
    except RecipeError:
        raise
    except (ValueError, DatasetsError, OSError) as error:
        # What is wrong with a file stands in the cause; the error itself says little.
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else None
        said = " ".join(str(cause or error).split())[:300]
        raise RecipeError(f"`{key}`: it cannot be read as a data set: {said}") from error
    for wanted in columns:
        if not set(wanted.split("|")) & set(dataset.column_names):
            there, column = ", ".join(dataset.column_names), wanted.replace("|", "` or `")
            raise RecipeError(f"`{key}`: the dataset has no column `{column}` (it has: {there})")
    return dataset

"""Rows of problems and answers, read once and strictly; what cannot be used is kept aside."""

import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from moxin_recipes.chats import left_out
from moxin_recipes.problems.texts import answer_of, problem_of
from moxin_recipes.recipe import lost
from moxin_recipes.recipe.strict import RecipeError

_EXACT = 2**24  # from here on 32 bits skip whole numbers
log = logging.getLogger(__name__)


class Problems:
    """The problems of a split as texts, with the reasons why some of them are left out."""

    def __init__(
        self,
        rows: Dataset,
        names: tuple[str, str],
        key: str,
        *,
        is_tests: bool = False,
        reasons: Sequence[str] = (),
    ) -> None:
        """`names` are the columns of problems and answers, `key` is the dataset's recipe key.

        `reasons`, one a row, are known why rows cannot be used. Raises RecipeError where no row
        can be used.
        """
        self.key, self._source = key, rows
        columns = [_read(rows, name, key) for name in names]
        problems = [problem_of(value) for value in columns[0]]
        answers = [answer_of(value, is_tests=is_tests) for value in columns[1]]
        self.texts = [text for text, _ in problems]
        self.answers = [text for text, _ in answers]
        found = [why or other for (_, why), (_, other) in zip(problems, answers, strict=True)]
        self.reasons = np.array(
            [known or why for known, why in zip(reasons or found, found, strict=True)], dtype=object
        )
        self.prove_some()

    def usable(self) -> Dataset:
        """Rows of `problem` and `answer` that are not left out, with their other columns."""
        places = self.places()
        rows = Dataset.from_dict(
            {
                "problem": [self.texts[place] for place in places],
                "answer": [self.answers[place] for place in places],
            }
        )
        others = [name for name in self._source.column_names if name not in rows.column_names]
        return beside(rows, self._source.select(places), others)

    def places(self) -> list[int]:
        """The indices of the rows that are not left out."""
        return np.flatnonzero(self.reasons == "").tolist()

    def leave_out(self, reasons: Sequence[str]) -> None:
        """Leaves out more rows: one reason a row of the split, or "" for none."""
        if len(reasons):
            self.reasons = np.where(self.reasons == "", np.array(reasons, object), self.reasons)
        self.prove_some()

    def leave_out_where(self, why: Callable[[str, str], str]) -> None:
        """Leaves out each row that `why` has a reason for, by its problem and its answer."""
        reasons = [""] * len(self.reasons)
        for place in self.places():
            reasons[place] = why(str(self.texts[place]), str(self.answers[place]))
        self.leave_out(reasons)

    def prove_some(self) -> None:
        """Raises RecipeError if every row is left out."""
        if not (self.reasons == "").any():
            raise RecipeError(
                f"`{self.key}`: none of its {len(self.reasons)} problems can be used; "
                f"{self._line()}"
            )

    def _line(self) -> lost.Line:
        return left_out.line("problem", self.reasons, self._source, self.key)

    @property
    def counts(self) -> dict[str, int]:
        """The number of problems, and of those left out by reason, for the manifest."""
        return left_out.counted("problem", self.reasons)

    def warn(self) -> None:
        """Says loudly if more than half of the problems are left out."""
        lost.warn(self._line())

    def say(self) -> None:
        """Says how many problems are left out and why, if some are."""
        if self._line().gone:
            log.warning("`%s`: %s", self.key, self._line())

    def left_out(self) -> Dataset:
        """Returns the index in the split, and the reason, of every problem that is left out."""
        return left_out.listed("problem", self.reasons)


def beside(rows: Dataset, others: Dataset, names: Sequence[str]) -> Dataset:
    """Returns `rows` with the columns `names` of `others`, which has as many rows."""
    if not names:
        return rows
    return concatenate_datasets([rows, others.select_columns(names).flatten_indices()], axis=1)


def _read(rows: Dataset, name: str, key: str) -> list[Any]:
    if name not in rows.column_names:
        there = ", ".join(rows.column_names)
        raise RecipeError(f"`{key}`: the dataset has no column `{name}` (it has: {there})")
    values = list(rows[name][:])
    dtype = getattr(rows.features[name], "dtype", "")
    if dtype in ("float16", "float32"):  # as a float of Python, 0.1 is 0.10000000149011612
        values = [_shortest(one, np.dtype(dtype)) for one in values]
    return values


def _shortest(value: float | None, dtype: Any) -> float | Decimal | None:
    exact = value is not None and abs(value) < _EXACT  # and no NaN
    return Decimal(str(dtype.type(value))) if exact else value

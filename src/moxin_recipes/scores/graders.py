"""Graders of whole batches, where lm-eval's own grading does not do: answers and programs.

A task names one in its metadata (`grader: math`). Texts come without the model's thoughts.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from moxin_recipes.rewards import tested
from moxin_recipes.rewards.answers import comparable, equal
from moxin_recipes.rewards.maths import boxes

# Part of a unit's key. Raise the number whenever a verdict may change.
VERSION = f"3, math-verify {version('math-verify')}"
_NOTHING = "nothing extracted"


@dataclass(frozen=True)
class Grade:
    """The verdict on a text: 1 or 0, what was read from it (None: nothing), and why."""

    score: float
    extracted: str | None
    reason: str


# Of documents, right answers and texts, one for each sample.
Grader = Callable[[Sequence[Mapping[str, Any]], Sequence[str], Sequence[str]], list[Grade]]

# The few-shot forms of Minerva, "The final answer is $X$. I hope it is correct.", and of GSM8K,
# "The answer is 18." and, on a line, "#### 18".
_STATED = re.compile(r"\b(?:the|final) answer is[\s:*]*", re.IGNORECASE)
_HASHED = re.compile(r"####[ \t]*\$?([-+]?[\d,]*\.?\d+)\.?[ \t]*$", re.MULTILINE)
_LONGEST_SENTENCE = 2000  # characters
_SENTENCE_END = re.compile(r"[.!?]?[*\"']*(?:\n|$)|[.!?][*\"']*\s")
_PRICE = re.compile(r"\$\s?\d[\d,.]*(?:\s|$)")
_MARK = re.compile(r"\$\$|(?<!\\)\\[()\[\]]")  # of a formula, all written as `$` here
_ONE_FORMULA = re.compile(r"[^$\d]*\$([^$]+)\$[^$\d]*")
_SIGN = re.compile(r"(?<!\\)\$|[£€]")  # of a price or a formula
# A number and what it counts; words that make it another number are not among these.
_COUNTED = re.compile(
    r"([-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?),?\s+"
    r"(?!(?:pi|sqrt|root|log|ln|sin|cos|tan|hundred|thousand|million|billion|dozen)\b)"
    r"[^\W\d_]{2}[^\d=+*/^\\<>]*"
)


def extracted_answer(text: str) -> str | None:
    r"""Returns the last `\boxed{…}`, or else what the last "the answer is" states, or None."""
    answer = boxes.answer(text)
    if answer is not None:
        return answer
    for match in reversed(list(_STATED.finditer(text))):
        return _of_sentence(text[match.end() :][:_LONGEST_SENTENCE])
    hashed = _HASHED.findall(text)
    return hashed[-1] if hashed else None


def _of_sentence(after: str) -> str | None:
    """Returns the formula, number or words that stand there up to the end of the sentence."""
    after = _MARK.sub("$", after).strip()
    # A formula that begins here may have several lines, and marks as in `3! + 1`.
    start = after.find("$", 1) if after.startswith("$") and not _PRICE.match(after) else 0
    start = max(0, start)
    after = after[:start].replace("\n", " ") + after[start:]
    end = _SENTENCE_END.search(after, start)
    sentence = after[: end.start()] if end else after
    formula = _ONE_FORMULA.fullmatch(sentence)
    if formula:
        return formula[1].strip()
    sentence = _SIGN.sub("", sentence).strip(" \t*\"'")
    counted = _COUNTED.fullmatch(sentence)
    return counted[1] if counted else sentence or None


def right_answer(answer: str) -> str:
    """Returns the answer in a benchmark's column.

    Of MATH's solutions it is the last box, of GSM8K's what follows `####`. OlympiadBench's
    `final_answer` is a list of texts, written as JSON or as Python writes it: all of them.
    """
    answer = boxes.answer(answer) or answer.rpartition("####")[2].strip()
    return _SIGN.sub("", ", ".join(_parts(answer) or [answer])).strip()


def _parts(answer: str) -> list[str]:
    """Returns the texts of a list; none of anything else, such as the interval [0, 1)."""
    try:
        parts = ast.literal_eval(answer) if answer.startswith("[") else []
    except (ValueError, SyntaxError):
        return []
    return parts if all(isinstance(part, str) for part in parts) else []


def math(
    documents: Sequence[Mapping[str, Any]],  # noqa: ARG001 (a grader's shape)
    answers: Sequence[str],
    texts: Sequence[str],
) -> list[Grade]:
    """Grades 1 where the answer in a text equals the right one, by the verifier of `rewards`."""
    extracted = [extracted_answer(text) for text in texts]
    candidates = [
        (None, _NOTHING) if one is None else comparable(_SIGN.sub("", one)) for one in extracted
    ]
    scores = equal(candidates, [right_answer(answer) for answer in answers])
    return [
        Grade(score.reward, one, score.reason) for score, one in zip(scores, extracted, strict=True)
    ]


def program(
    documents: Sequence[Mapping[str, Any]],
    answers: Sequence[str],  # noqa: ARG001 (the tests are in the document)
    texts: Sequence[str],
) -> list[Grade]:
    """Grades 1 where the program in a text passes its document's tests (`rewards/tested.py`)."""
    found = {
        index: code
        for index, (document, text) in enumerate(zip(documents, texts, strict=True))
        if (code := tested.program_of(text, str(document.get("entry_point"))))
    }
    grades = [Grade(0.0, None, _NOTHING)] * len(texts)
    scores = tested.passes([documents[index] for index in found], list(found.values()))
    for (index, code), score in zip(found.items(), scores, strict=True):
        grades[index] = Grade(score.reward, code.code, score.reason)
    return grades


def contains(
    documents: Sequence[Mapping[str, Any]],  # noqa: ARG001 (a grader's shape)
    answers: Sequence[str],
    texts: Sequence[str],
) -> list[Grade]:
    """Grades 1 where a text has one of the right answers, a list of texts, in it, in any case."""
    grades = []
    for answer, text in zip(answers, texts, strict=True):
        said = text.casefold()
        found = any(part.casefold() in said for part in _parts(answer) or [answer])
        reason = "contained" if found else "not contained" if text.strip() else _NOTHING
        grades.append(Grade(float(found), text.strip() or None, reason))
    return grades


GRADERS: dict[str, tuple[str, Grader]] = {
    "math": ("exact_match", math),
    "program": ("pass", program),
    "contains": ("contains", contains),
}

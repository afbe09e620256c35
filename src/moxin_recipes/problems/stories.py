"""Grade-school word problems: somebody has things, gets some, gives some away; how many are left?

    Mia has 3 boxes with 8 pencils in each. Mia gives 5 pencils to Leo. How many … ?   3*8-5=19

A problem is a signed sum of numbers and products (`arithmetic.Problem`), with one sentence a term.
So its worked solution, its wrong answers and its split are those of a sum. Two stories with the
same numbers are always in the same split, whatever things they are about.
"""

import random
from itertools import accumulate

from moxin_recipes.problems.arithmetic import Problem

MOST = 99  # things that a person has at most; the least is 0
_FIRST = (5, 60)
_NUMBER = (2, 9)  # things that come or go in a sentence: small models learn these in minutes
_FACTOR = (2, 5)
_PRODUCT_SHARE = 0.4  # of the terms that may be a product

_NAMES = ("Ann", "Ben", "Eva", "Ida", "Leo", "Mia", "Sam", "Tom")
_THINGS = (
    ("apples", "baskets"),
    ("cards", "packs"),
    ("cookies", "jars"),
    ("eggs", "cartons"),
    ("flowers", "bunches"),
    ("marbles", "bags"),
    ("pencils", "boxes"),
    ("stickers", "sheets"),
)
# (sign, whether the term is a product) → sentences.
_SENTENCES = {
    ("", False): ("{name} has {n} {things}.",),
    ("", True): ("{name} has {a} {boxes} with {b} {things} in each.",),
    ("+", False): (
        "{name} buys {n} more {things}.",
        "{other} gives {name} {n} {things}.",
        "{name} finds {n} {things}.",
    ),
    ("+", True): (
        "{name} buys {a} {boxes} with {b} {things} in each.",
        "{a} friends give {name} {b} {things} each.",
    ),
    ("-", False): (
        "{name} gives {n} {things} to {other}.",
        "{name} loses {n} {things}.",
        "{name} sells {n} {things}.",
    ),
    ("-", True): (
        "{name} gives {a} friends {b} {things} each.",
        "{name} sells {a} {boxes} with {b} {things} in each.",
    ),
}


def draw(steps: int, rng: random.Random) -> Problem:
    """Returns a story of `steps` operations; a product is one operation."""
    while True:
        problem = Problem("".join(_terms(steps, rng)), "")
        if all(0 <= total <= MOST for total in accumulate(problem.values)):
            return Problem(problem.expression, _tell(problem, rng))


def _terms(steps: int, rng: random.Random) -> list[str]:
    terms: list[str] = []
    while steps or not terms:
        sign = rng.choice("+-") if terms else ""
        product = steps > bool(terms) and rng.random() < _PRODUCT_SHARE
        if product:
            number = f"{rng.randint(*_FACTOR)}*{rng.randint(*_FACTOR)}"
        else:
            number = str(rng.randint(*(_NUMBER if terms else _FIRST)))
        steps -= product + bool(terms)
        terms.append(sign + number)
    return terms


def _tell(problem: Problem, rng: random.Random) -> str:
    name, other = rng.sample(_NAMES, 2)
    things, boxes = rng.choice(_THINGS)
    sentences = []
    for term in problem.terms:
        number = term.lstrip("+-")
        a, product, b = number.partition("*")
        sentence = rng.choice(_SENTENCES[term[: -len(number)], bool(product)])
        sentences.append(
            sentence.format(name=name, other=other, things=things, boxes=boxes, n=a, a=a, b=b)
        )
    return " ".join([*sentences, f"How many {things} does {name} have now?"])

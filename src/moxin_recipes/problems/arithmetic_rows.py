"""Arithmetic as the rows that each stage of a small ladder is fed."""

import keyword
import random
from collections.abc import Iterator, Sequence
from typing import Any

from moxin_recipes.problems import arithmetic
from moxin_recipes.problems.arithmetic import Draw, Problem, Split, Style

Row = dict[str, Any]

DRILL = 8  # equations of a drill document


def maths_documents(
    split: Split,
    seed: int,
    count: int,
    steps: Sequence[int] = (1, 2, 3, 4, 5, 6),
    drill_share: float = 0.15,
) -> Iterator[Row]:
    """`count` documents: one question with its worked chain and answer, or a drill of equations.

    One question a document: with twelve, the digits of the others kept a small model from
    learning to copy at all. A drill is `DRILL` one-step equations, the cheapest way to meet many.
    """
    rng = random.Random(f"maths-text {split} {seed}")
    chains, sums = arithmetic.stream(split, seed, steps), arithmetic.stream(split, seed, (1,))
    for index in range(count):
        if rng.random() < drill_share:
            text = "".join(f"{arithmetic.equation(next(sums))}\n" for _ in range(DRILL))
        else:
            problem = next(chains)
            style: Style = "full" if problem.steps > 1 and rng.random() < 0.85 else "short"
            solution = arithmetic.worked(problem, style, rng)
            text = f"Question: {problem.question}\n{solution}\nAnswer: {problem.answer}\n"
        yield {
            "text": text,
            "source": "maths-text",
            "license": "Apache-2.0",
            "origin": f"arithmetic/{split}/{seed}/{index}",
        }


def _other_question(split: Split, rng: random.Random) -> tuple[str, str]:
    """A question that is no sum, of the wanted split, and its answer."""
    while True:
        kind = rng.choice(("larger", "smaller", "after", "before", "repeat"))
        a, b = rng.sample(range(1, 100), 2)
        word = rng.choice(keyword.kwlist)
        question, answer = {
            "larger": (f"Which is larger, {a} or {b}?", str(max(a, b))),
            "smaller": (f"Which is smaller, {a} or {b}?", str(min(a, b))),
            "after": (f"Which number comes after {a}?", str(a + 1)),
            "before": (f"Which number comes before {a}?", str(a - 1)),
            "repeat": (f"Say {word} {a % 3 + 2} times.", " ".join([word] * (a % 3 + 2))),
        }[kind]
        if arithmetic.bucket_of(question) == split:
            return question, answer


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def chat_rows(
    split: Split,
    seed: int,
    count: int,
    draw: Draw = arithmetic.draw,
    steps: Sequence[int] = (),
    other_share: float = 0.25,
    chain_share: float = 0.3,
) -> list[Row]:
    """`count` one-turn chats: one-step problems, other short questions, worked chains of `steps`.

    Without `steps` there are no chains.
    """
    rng = random.Random(f"chat {split} {seed}")
    source = arithmetic.stream(split, seed, (1,), draw)
    chains = arithmetic.stream(split, seed, steps, draw) if steps else None
    rows = []
    for _ in range(count):
        kind = rng.random()
        if kind < other_share:
            question, answer = _other_question(split, rng)
        elif chains and kind < other_share + chain_share:
            problem = next(chains)
            question, answer = problem.question, arithmetic.worked(problem, "full", rng)
        else:
            problem = next(source)
            question, answer = problem.question, arithmetic.equation(problem)
        rows.append({"messages": [_turn("user", question), _turn("assistant", answer)]})
    return rows


def preference_rows(split: Split, seed: int, count: int, draw: Draw = arithmetic.draw) -> list[Row]:
    """`count` pairs in TRL's conversational form: the right answer beside a wrong or a bad one."""
    rng = random.Random(f"preferences {split} {seed}")
    source = arithmetic.stream(split, seed, (1,), draw)
    rows = []
    for _ in range(count):
        problem = next(source)
        chosen, rejected = (
            arithmetic.equation(problem),
            arithmetic.equation(problem, arithmetic.wrong(problem, rng)),
        )
        if rng.random() < 0.6:
            rejected = rng.choice(
                (
                    "I do not know.",
                    f"{chosen} {chosen} {chosen}",
                    problem.question,
                    f"Maybe {rejected}, maybe {chosen}.",
                )
            )
        rows.append(
            {
                "prompt": [_turn("user", problem.question)],
                "chosen": [_turn("assistant", chosen)],
                "rejected": [_turn("assistant", rejected)],
            }
        )
    return rows


def problem_row(problem: Problem) -> Row:
    """What GRPO and the distillation read: the question, the bare answer and the difficulty."""
    return {"problem": problem.question, "answer": problem.answer, "steps": problem.steps}


def choice_rows(seed: int, count: int, draw: Draw = arithmetic.draw, choices: int = 4) -> list[Row]:
    """`count` multiple-choice items of the test split; `label` is the index of the right choice."""
    rng = random.Random(f"choices {seed}")
    rows = []
    for problem in arithmetic.problems("test", seed, count, (1,), draw):
        others: set[str] = set()
        while len(others) < choices - 1:
            others.add(arithmetic.wrong(problem, rng))
        options = [
            arithmetic.equation(problem, answer) for answer in sorted([*others, problem.answer])
        ]
        rng.shuffle(options)
        label = options.index(arithmetic.equation(problem))
        rows.append({"question": problem.question, "choices": options, "label": label})
    return rows


def teacher(
    problem: Problem,
    n: int,
    rng: random.Random,
    short_share: float = 0.35,
    wrong_share: float = 0.08,
    malformed_share: float = 0.04,
) -> list[str]:
    """`n` completions ``<think>…</think>`` and ``\\boxed{…}`` of a program that sometimes fails.

    The wrong and the malformed ones give the verifier something to reject. `short_share` of the
    completions skip the chain: a habit that often fails, left for reinforcement learning to drop.
    """
    completions = []
    for _ in range(n):
        style: Style = "short" if rng.random() < short_share else "full"
        luck = rng.random()
        thought = arithmetic.worked(problem, style, rng, slip=luck < wrong_share)
        answer = thought.rpartition("=")[2]
        text = f"<think>\n{thought}\n</think>\n\\boxed{{{answer}}}"
        if wrong_share <= luck < wrong_share + malformed_share:
            text = rng.choice((text.replace("</think>\n", ""), text.replace("\\boxed", "")))
        completions.append(text)
    return completions

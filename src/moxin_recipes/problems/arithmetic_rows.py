"""Turns arithmetic problems into the rows that each stage of a small ladder reads."""

import keyword
import random
from collections.abc import Iterator, Sequence
from typing import Any

from moxin_recipes.problems import arithmetic
from moxin_recipes.problems.arithmetic import Draw, Problem, Split, Style

Row = dict[str, Any]

DRILL = 8  # equations in a drill document


def maths_documents(
    split: Split,
    seed: int,
    count: int,
    steps: Sequence[int] = (1, 2, 3, 4, 5, 6),
    drill_share: float = 0.15,
) -> Iterator[Row]:
    """Yields `count` documents: a question with its worked chain and answer, or a drill.

    A document has one question. With twelve, the digits of the other questions kept a small model
    from learning to copy. A drill is `DRILL` one-step equations, the cheapest way to show many.
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
    """Returns a question of a split that is no sum, and its answer."""
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
    """Returns `count` one-turn chats: one-step problems, other short questions and worked chains.

    The chains have `steps` operations. Without `steps` there are no chains.
    """
    rng = random.Random(f"chat {split} {seed}")
    sums = arithmetic.stream(split, seed, (1,), draw)
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
            problem = next(sums)
            question, answer = problem.question, arithmetic.equation(problem)
        rows.append({"messages": [_turn("user", question), _turn("assistant", answer)]})
    return rows


def preference_rows(split: Split, seed: int, count: int, draw: Draw = arithmetic.draw) -> list[Row]:
    """Returns `count` pairs in TRL's conversational form: the right answer and a worse one."""
    rng = random.Random(f"preferences {split} {seed}")
    sums = arithmetic.stream(split, seed, (1,), draw)
    rows = []
    for _ in range(count):
        problem = next(sums)
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
    """Returns the row for GRPO and distillation: the question, the answer and the difficulty."""
    return {"problem": problem.question, "answer": problem.answer, "steps": problem.steps}


def choice_rows(seed: int, count: int, draw: Draw = arithmetic.draw, choices: int = 4) -> list[Row]:
    """Returns `count` multiple-choice items of the test split; `label` is the right index."""
    rng = random.Random(f"choices {seed}")
    rows = []
    for problem in arithmetic.problems("test", seed, count, (1,), draw):
        wrong_answers: set[str] = set()
        while len(wrong_answers) < choices - 1:
            wrong_answers.add(arithmetic.wrong(problem, rng))
        options = [
            arithmetic.equation(problem, answer)
            for answer in sorted([*wrong_answers, problem.answer])
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
    """Returns `n` completions, ``<think>…</think>`` and ``\\boxed{…}``; some of them are wrong.

    The verifier has to reject the wrong and the malformed ones. `short_share` of the completions
    skip the chain. A model that copies this habit often fails, and GRPO has to unlearn it.
    """
    completions = []
    for _ in range(n):
        style: Style = "short" if rng.random() < short_share else "full"
        error_draw = rng.random()
        chain = arithmetic.worked(problem, style, rng, slip=error_draw < wrong_share)
        answer = chain.rpartition("=")[2]
        text = f"<think>\n{chain}\n</think>\n\\boxed{{{answer}}}"
        if wrong_share <= error_draw < wrong_share + malformed_share:
            text = rng.choice((text.replace("</think>\n", ""), text.replace("\\boxed", "")))
        completions.append(text)
    return completions

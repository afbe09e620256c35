"""Searches chats for evaluation items, on one core.

    python -m bench contaminated_rows

10,000 chats of 400 words against 20,000 items, each a question of 60 words and an answer of 40.
Words are drawn from 50,000 by Zipf's law; each hundredth chat holds a question. The clock is this
process's processor time, so that a busy machine changes little.
"""

import random
import shutil
import tempfile
import time
from pathlib import Path

from datasets import Dataset

from bench.figures import in_rounds, spread
from bench.machine import machine
from moxin_recipes.documents.contaminated import search
from moxin_recipes.documents.contamination import Item, write_index

CHATS, ITEMS, WORDS, ROUNDS = 10_000, 20_000, 50_000, 5
_WEIGHTS = [1 / rank for rank in range(1, WORDS + 1)]
_NAMES = [f"{random.Random(rank).getrandbits(20 + rank.bit_length()):x}" for rank in range(WORDS)]


def texts(count: int, words: int, seed: int) -> list[str]:
    """Random texts of so many words."""
    drawn = random.Random(seed).choices(_NAMES, _WEIGHTS, k=count * words)
    return [" ".join(drawn[i : i + words]) for i in range(0, count * words, words)]


def main() -> None:
    questions, answers = texts(ITEMS, 60, 1), texts(ITEMS, 40, 2)
    items = [
        Item("random", str(i), list(parts), columns=("question", "answer"))
        for i, parts in enumerate(zip(questions, answers, strict=True))
    ]
    asked, said = texts(CHATS, 100, 3), texts(CHATS, 300, 4)
    for place in range(0, CHATS, 100):
        asked[place] += f" {questions[place]}"
    rows = Dataset.from_list(
        [
            {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
            for a, b in zip(asked, said, strict=True)
        ]
    )
    size = (sum(map(len, asked)) + sum(map(len, said))) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def index() -> float:
            shutil.rmtree(folder / "index", ignore_errors=True)
            start = time.process_time()
            write_index(items, folder / "index")
            return time.process_time() - start

        def searched() -> float:
            start = time.process_time()
            found = search(rows, "chats", [], folder)
            seconds = time.process_time() - start
            assert sum(map(bool, found.reasons)) >= CHATS // 100
            return seconds

        index()
        seconds = in_rounds({"index": index, "search": searched}, ROUNDS)
    rates = [size / each for each in seconds["search"]]
    print(machine("datasets", "numpy"))
    print(f"index of {ITEMS:,} items: {spread(seconds['index'])} s of a core")
    print(
        f"{CHATS:,} chats, {size:.1f} MB: {spread(seconds['search'])} s of a core, "
        f"{spread(rates, 1)} MB/s"
    )

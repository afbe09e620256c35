"""Searches chats for evaluation items, on one core.

    python -m bench contaminated_rows

20,000 chats of 400 words against 20,000 items, each a question of 60 words and an answer of 40.
Words are drawn from 50,000 by Zipf's law; each hundredth chat holds a question. The clock is this
process's processor time, so that a busy machine changes little. `peak` is its resident memory.
"""

import random
import resource
import tempfile
import time
from pathlib import Path

from datasets import Dataset

from moxin_recipes.documents.contaminated import search
from moxin_recipes.documents.contamination import Item, write_index

CHATS, ITEMS, WORDS = 20_000, 20_000, 50_000
TULU = 939_344  # chats of Tülu 3's mixture
_WEIGHTS = [1 / rank for rank in range(1, WORDS + 1)]
_NAMES = [f"{random.Random(rank).getrandbits(20 + rank.bit_length()):x}" for rank in range(WORDS)]


def texts(count: int, words: int, seed: int) -> list[str]:
    """Random texts of so many words."""
    drawn = random.Random(seed).choices(_NAMES, _WEIGHTS, k=count * words)
    return [" ".join(drawn[i : i + words]) for i in range(0, count * words, words)]


def main() -> None:
    """Prints the rates, and what they come to for Tülu 3's mixture."""
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
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        write_index(items, Path(folder) / "index")
        built = time.process_time() - start
        start = time.process_time()
        found = search(rows, "chats", [], Path(folder))
        seconds = time.process_time() - start
        size = sum(map(len, asked)) + sum(map(len, said))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        disk = (Path(folder) / "index" / "index.npz").stat().st_size / 1e6
    assert sum(map(bool, found.reasons)) >= CHATS // 100
    print(f"index of {ITEMS:,} items: {built:.1f} s, {disk:.0f} MB; peak {peak:.0f} MB")
    print(
        f"{CHATS:,} chats: {seconds:.1f} s, {CHATS / seconds:.0f} chats/s, "
        f"{size / 1e6 / seconds:.1f} MB/s; {TULU:,} such chats: {TULU / CHATS * seconds / 60:.0f} "
        "minutes of one core"
    )


if __name__ == "__main__":
    main()

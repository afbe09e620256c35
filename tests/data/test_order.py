"""The mixture: exact shares in any window, each window once an epoch, a pure function."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moxin_recipes.arguments import MixtureItem
from moxin_recipes.data.order import Mixture, shuffled
from moxin_recipes.data.tokens import TOKEN, packed
from moxin_recipes.strict import RecipeError

CONTEXT = 8
SIZES = {"a": 1000, "b": 300, "c": 50}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, windows in SIZES.items():
        (tmp_path / name).mkdir()
        ids = rng.integers(1, 90, windows * CONTEXT + 3).astype(TOKEN)
        half = len(ids) // 2  # two shards, the first the longer one
        ids[: half + 3].tofile(tmp_path / name / "train-00000.bin")
        ids[half + 3 :].tofile(tmp_path / name / "train-00001.bin")
    return tmp_path


def mixture(folder: Path, seed: int = 1, **weights: float) -> Mixture:
    items = [MixtureItem(source=name, weight=weight) for name, weight in weights.items()]
    return Mixture(folder, items, CONTEXT, length=50_000, seed=seed, bos=1)


@given(st.integers(1, 5000), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_shuffled_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(shuffled(i, size, (seed,)) for i in range(size)) == list(range(size))


def test_shares_hold_in_every_window(tokens: Path) -> None:
    weights = {"a": 0.47, "b": 0.4, "c": 0.13}
    mixed = mixture(tokens, **weights)
    names = [mixed.locate(i).source for i in range(25_000)]
    for start in range(0, 15_001, 500):
        counts = Counter(names[start : start + 10_000])
        for name, weight in weights.items():
            assert abs(counts[name] / 10_000 - weight) < 0.001


def test_each_window_once_an_epoch(tokens: Path) -> None:
    mixed = mixture(tokens, a=0.9, b=0.1)
    seen = Counter(mixed.locate(i) for i in range(20_000))
    assert max(seen.values()) == 1
    first = {sample.window for sample in seen if sample.source == "a" and sample.epoch == 0}
    assert first == set(range(SIZES["a"]))


def test_the_order_is_a_function_of_seed_and_index(tokens: Path) -> None:
    one, other = mixture(tokens, a=0.5, b=0.5), mixture(tokens, a=0.5, b=0.5)
    assert [one.locate(i) for i in range(500)] == [other.locate(499 - i) for i in range(500)][::-1]
    assert [one.locate(i) for i in range(50)] != [
        mixture(tokens, seed=2, a=0.5, b=0.5).locate(i) for i in range(50)
    ]


def test_a_sequence_is_its_window_of_the_stream(tokens: Path) -> None:
    mixed = mixture(tokens, a=1.0)
    whole = np.concatenate([np.fromfile(p, TOKEN) for p in sorted((tokens / "a").glob("*.bin"))])
    for index in (0, 17, 999):
        window = mixed.locate(index).window
        expected = whole[window * CONTEXT : (window + 1) * CONTEXT]
        assert mixed[index]["input_ids"].tolist() == expected.tolist()


def test_documents_are_isolated_and_labels_stay_inside() -> None:
    ids = np.array([5, 6, 1, 7, 8, 1, 9])
    row = packed(ids, bos=1)
    assert row["position_ids"].tolist() == [0, 1, 0, 1, 2, 0, 1]
    assert row["labels"].tolist() == [-100, 6, -100, 7, 8, -100, 9]


def test_a_source_that_is_too_small_is_named(tokens: Path) -> None:
    (tokens / "d").mkdir()
    np.zeros(3, TOKEN).tofile(tokens / "d" / "train-00000.bin")
    with pytest.raises(RecipeError, match="source d has no whole sequence of 8"):
        mixture(tokens, a=0.5, d=0.5)

"""The order of training: shares, epochs, parts of phases, and the same function whoever asks."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import prepare_data_loader
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import tiny_mistral
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import TrainingArguments

from moxin_recipes.recipe.keys.pretrain import MixtureItem
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens.framing import Framing
from moxin_recipes.tokens.mixture import Mixture
from moxin_recipes.tokens.order import Locations, Order, shuffled
from moxin_recipes.tokens.shards import NARROW, Shard, TokenFolder
from moxin_recipes.training.trainers import PretrainTrainer

CONTEXT = 8
# Tokens of each shard; none a multiple of the context.
SHARDS = {"a": [5003, 1207, 999, 801, 13], "b": [2403], "c": [60, 61, 62, 63, 64, 65]}
WEIGHTS = {"a": 0.47, "b": 0.4, "c": 0.13}


def order(
    seed: int = 1, group: int = 2, context: int = CONTEXT, **changes: dict[str, Any]
) -> Order:
    """The order over `SHARDS`; `changes` are keys of one source's item."""
    shards = {
        name: [Shard(f"{name}/train-{i:05d}.bin", n) for i, n in enumerate(sizes)]
        for name, sizes in SHARDS.items()
    }
    items = [
        MixtureItem(source=name, weight=weight, **changes.get(name, {}))
        for name, weight in WEIGHTS.items()
    ]
    return Order(shards, items, context, seed, group)


def rows(locations: Locations) -> np.ndarray:
    """(places, 4): source, epoch, extent, start."""
    return np.stack([locations.source, locations.epoch, locations.extent, locations.start], axis=1)


@given(st.integers(1, 5000), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_shuffled_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(shuffled(np.arange(size), size, (seed,))) == list(range(size))


def test_shares_are_exact_in_every_window_of_ten_thousand() -> None:
    source = order().locate_all(np.arange(200_000)).source
    for which, weight in enumerate(WEIGHTS.values()):
        seen = np.concatenate([[0], np.cumsum(source == which)])
        shares = (seen[10_000:] - seen[:-10_000]) / 10_000
        assert np.abs(shares - weight).max() < 0.001


def test_each_window_once_an_epoch_and_none_left_out() -> None:
    mixed = order()
    located_rows = rows(mixed.locate_all(np.arange(30_000)))
    assert len(np.unique(located_rows, axis=0)) == len(located_rows)
    for which, extents in enumerate(mixed.extents):
        first = located_rows[(located_rows[:, 0] == which) & (located_rows[:, 1] == 0)]
        assert len(first) == sum(extent.windows for extent in extents)
        for place, extent in enumerate(extents):
            starts = sorted(first[first[:, 2] == place][:, 3])
            assert starts == [extent.start + CONTEXT * i for i in range(extent.windows)]
            assert starts[-1] + CONTEXT <= extent.shard.tokens


def test_the_order_is_a_function_of_seed_and_index() -> None:
    indices = np.arange(5000)
    located_rows = rows(order().locate_all(indices))
    assert (located_rows == rows(order().locate_all(indices[::-1]))[::-1]).all()
    assert (located_rows != rows(order(seed=2).locate_all(indices))).any()
    late = order().locate(10**12)
    assert late == order().location(order().locate_all(np.array([5, 10**12])), 1)


def test_a_group_of_shards_is_read_at_a_time() -> None:
    mixed = order(group=2)
    current, later = mixed.shards_at(0)
    for index in range(3000):
        before, announced = current, later
        current, later = mixed.shards_at(index)
        assert mixed.locate(index).shard in current
        assert len(current) <= 2 * len(SHARDS)
        assert set(current) <= set(before) | set(announced)  # nothing comes that was not announced


def test_phases_that_divide_a_source_do_not_overlap() -> None:
    """0 to 0.8 at one context and 0.8 to 1 at another, as the phases of moxin-7b have it."""
    first = order(a={"stop": 0.8, "epochs": 9})
    second = order(seed=5, context=16, a={"start": 0.8, "epochs": 9})
    read = {}
    for name, mixed in (("first", first), ("second", second)):
        read[name] = {
            (extent.shard.path, position)
            for extent in mixed.extents[0]
            for position in range(extent.start, extent.start + extent.windows * mixed.context)
        }
    total = sum(SHARDS["a"])
    assert not read["first"] & read["second"]
    assert len(read["first"]) == pytest.approx(0.8 * total, abs=6 * CONTEXT)
    assert len(read["second"]) == pytest.approx(0.2 * total, abs=6 * 16)


class Places(Dataset[int]):
    """The places themselves: what a loader asks for is what it returns."""

    def __len__(self) -> int:
        return 1_000_440

    def __getitem__(self, index: int) -> int:
        return index


def loader(rank: int, ranks: int, micro: int) -> Any:
    """The loader of one rank, sharded as the Trainer's accelerator does it."""
    places = Places()
    plain = DataLoader(places, micro, sampler=SequentialSampler(places), collate_fn=np.array)
    return prepare_data_loader(plain, num_processes=ranks, process_index=rank, put_on_device=False)


def large_order() -> Order:
    """Two sources of 40 shards; the second one comes to its fourth epoch in a million places."""
    shards = [Shard(f"a/train-{i:05d}.bin", 100_000 + 7919 * i) for i in range(40)]
    items = [MixtureItem(source="a", weight=0.6), MixtureItem(source="b", weight=0.4)]
    return Order({"a": shards, "b": shards}, items, 96, seed=7, group=16)


@pytest.fixture(scope="module")
def expected() -> str:
    """Digest of the first million sample ids."""
    return hashlib.sha256(rows(large_order().locate_all(np.arange(10**6))).tobytes()).hexdigest()


@pytest.mark.parametrize("ranks", [1, 2, 7])
def test_a_million_samples_are_the_same_for_any_number_of_ranks_and_after_a_kill(
    ranks: int, expected: str
) -> None:
    micro, kill = 840 // ranks, 200
    parts = []
    for rank in range(ranks):
        batches = list(loader(rank, ranks, micro))
        resumed = list(skip_first_batches(loader(rank, ranks, micro), kill))
        assert len(resumed) == len(batches) - kill
        parts.append(batches[:kill] + resumed)
    read = np.concatenate([batch for batches in zip(*parts, strict=True) for batch in batches])
    assert (read[:1_000_000] == np.arange(1_000_000)).all()
    digest = hashlib.sha256(rows(large_order().locate_all(read[:1_000_000])).tobytes())
    assert digest.hexdigest() == expected


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFolder:
    rng = np.random.default_rng(0)
    for name, sizes in SHARDS.items():
        (tmp_path / name).mkdir()
        for number, size in enumerate(sizes):
            path = tmp_path / name / f"train-00000-{number:05d}.bin"
            rng.integers(1, 90, size).astype(NARROW).tofile(path)
    return TokenFolder(tmp_path)


def mixture(tokens: TokenFolder, length: int = 300, **changes: dict[str, Any]) -> Mixture:
    items = [
        MixtureItem(source=name, weight=weight, **changes.get(name, {}))
        for name, weight in WEIGHTS.items()
    ]
    shards = {name: tokens.shards(name, "train") for name in WEIGHTS}
    return Mixture(tokens, Order(shards, items, CONTEXT, 1, 2), length, Framing(1, 2))


def test_a_sequence_is_its_window_of_the_stream(tokens: TokenFolder, tmp_path: Path) -> None:
    mixed = mixture(tokens)
    locations = order().locate_all(np.arange(300))
    for index in (0, 299, 17):
        location = order().location(locations, index)
        name = location.shard.path.replace("train-", "train-00000-")
        shard_ids = np.fromfile(tmp_path / name, NARROW)
        expected = shard_ids[location.start : location.start + CONTEXT]
        assert mixed[index]["input_ids"].tolist() == expected.tolist()
    assert mixed.facts()["b/tokens"] == 120 * CONTEXT


def test_the_trainer_reads_the_mixture_from_first_to_last(
    tokens: TokenFolder, tmp_path: Path
) -> None:
    args = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        max_steps=10,
        use_cpu=True,
        report_to="none",
    )
    model = tiny_mistral(vocab_size=8)  # never run: what counts is read
    trainer = PretrainTrainer(model=model, args=args, train_dataset=mixture(tokens))
    batches = [batch["input_ids"].numpy() for batch in trainer.get_train_dataloader()]
    expected = [mixture(tokens)[index]["input_ids"] for index in range(300)]
    assert (np.concatenate(batches) == np.stack(expected)).all()


def test_documents_are_isolated_and_labels_stay_inside() -> None:
    ids = np.array([5, 6, 1, 7, 8, 1, 9])
    row = Framing(1, 2).packed(ids)
    assert row["position_ids"].tolist() == [0, 1, 0, 1, 2, 0, 1]
    assert row["labels"].tolist() == [-100, 6, -100, 7, 8, -100, 9]


def test_a_mixture_that_cannot_be_read_names_its_source(tokens: TokenFolder) -> None:
    with pytest.raises(
        RecipeError, match=r"b would be read 1\.33 times; lower its weight or raise"
    ):
        mixture(tokens, length=1000)
    assert len(mixture(tokens, length=1000, b={"epochs": 2}, c={"epochs": 3})) == 1000
    with pytest.raises(RecipeError, match=r"source c has no whole sequence of 8 .* 0.1 and 0.11"):
        mixture(tokens, c={"start": 0.1, "stop": 0.11})
    with pytest.raises(RecipeError, match="there are no train tokens of a source d"):
        tokens.shards("d", "train")

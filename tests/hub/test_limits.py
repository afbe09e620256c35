"""The limits of the public Hub: counted before the work, and kept by the layout of folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from tests.conftest import ROOT

from moxin_recipes.hub import files, own
from moxin_recipes.hub.cards.metadata import configs
from moxin_recipes.ladder import order, outputs
from moxin_recipes.recipe import door, limits
from moxin_recipes.recipe.fields import Reference
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from moxin_recipes.tokens import build, write
from moxin_recipes.tokens.shards import TokenFolder

SEVEN = ROOT / "recipes" / "moxin-7b"


@pytest.mark.parametrize("name", ["a", "A_b.c-d", "x" * 96, f"{'n' * 96}/{'x' * 96}", "_", "1/2"])
def test_names_of_repositories(name: str) -> None:
    limits.check_name("hub_model_id", name)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 97,
        f"{'n' * 97}/x",
        "a/b/c",
        "a b",
        "a--b",
        "a..b",
        "-a",
        "a-",
        "a.git",
        "ü",
        "/a",
        "a/",
    ],
)
@pytest.mark.parametrize("stage", ["00-data", "30-sft", "50-evaluate"])
def test_a_name_that_no_hub_takes_is_refused_at_the_door(name: str, stage: str) -> None:
    recipe = read(SEVEN / f"{stage}.yaml")
    key = next(iter(recipe.outputs))
    with pytest.raises(RecipeError, match=rf"{stage}\.yaml: `{key}`: .* is no name of a reposit"):
        door.check(read(SEVEN / f"{stage}.yaml", [f"--{key}", name]), Launcher(), False)


def test_a_file_that_no_hub_takes_is_refused_at_the_door() -> None:
    words = ["--shard_tokens", "150000000000"]
    with pytest.raises(RecipeError, match="`shard_tokens`: a shard of tokens would have 600 GB"):
        door.check(read(SEVEN / "00-data.yaml", words), Launcher(), False)


@pytest.mark.usefixtures("hub")
def test_a_folder_that_no_hub_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs.check(order.read(SEVEN))
    monkeypatch.setattr(limits, "FOLDER_FILES", 3999)  # the corpus has one of 4,000
    said = r"00-data\.yaml: `tasks`: a folder of `hub_corpus_id` would have 4,000 entries"
    with pytest.raises(RecipeError, match=said):
        outputs.check(order.read(SEVEN))
    monkeypatch.setattr(limits, "FOLDER_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("a text")
    texts = Reference("sources[0]", "dataset", str(tmp_path), "main")
    with pytest.raises(RecipeError, match=r"`sources\[0\]`: .* would have 4 entries"):
        own.of(texts)
    (tmp_path / "3.txt").unlink()
    assert len(own.of(texts).files) == 3
    monkeypatch.setattr(limits, "LARGEST_FILE", 5)
    with pytest.raises(RecipeError, match=r"0\.txt would have"):
        own.of(texts)


def lines(stage: str, *words: str) -> str:
    return "\n".join(outputs.lines(read(SEVEN / f"{stage}.yaml", list(words)), order.read(SEVEN)))


def test_the_outputs_of_the_7b_are_counted() -> None:
    data = lines("00-data")
    # 9 sources × 2 splits × 2,000 tasks; read and normalised 9 × 2, decontaminated 1, × 2,000.
    assert f"moxin-7b-corpus: {36_000 + 38_000 + 6:,} files (of 100,000), 4,000 a folder" in data
    assert "moxin-7b-tokens: " in data
    assert "500.0 MB a file (of 50.0 GB), at least 4.0 TB (large: ask the Hub first)" in data
    first = lines("20-pretrain-2k")
    # 8,114,180,096 parameters × 4 bytes in 7 files of at most 5 GB
    assert "moxin-7b-base: 19 files (of 100,000), 19 a folder (of 10,000), 19 a commit" in first
    assert "5.0 GB a file (of 50.0 GB), 32.5 GB" in first
    assert "keep_checkpoints: 40 of 305 branches stay" in first
    assert "1.3 TB; 9.9 TB are sent" in first
    assert "states" not in first
    with_states = lines("20-pretrain-2k", "--push_training_state", "true")
    assert "; as many states of the training, 2.6 TB more" in with_states  # 40 × 2 × 32.5 GB
    assert "16.2 GB" in lines("30-sft", "--dtype", "bfloat16")
    assert "keep_checkpoints" not in lines("30-sft", "--push_checkpoints", "false")
    assert "1.0 GB a file (of 50.0 GB), at least 8.0 TB" in lines(
        "00-data", "--tokenizer", "train", "--vocab_size", "100000"
    )
    many = lines("00-data", "--tasks", "9000")
    assert "above what is recommended: change `tasks`" in many
    assert "18,000 a folder" not in many


@pytest.mark.parametrize("count", [1, 5000, 5001, 48_000, 200_000])
def test_no_folder_has_too_many_entries_and_the_order_stays(count: int) -> None:
    names = [f"train-{number // 3:05d}-{number % 3:05d}.bin" for number in range(count)]
    spread = files.spread(names)
    assert [path.rpartition("/")[2] for path in spread] == names
    assert spread == sorted(spread)
    folders = [path.rpartition("/")[0] for path in spread]
    fullest = max(folders.count(folder) for folder in {folders[0], folders[-1]})
    assert max(fullest, len(set(folders))) == outputs._spread(count) <= limits.FOLDER_FILES


def test_sub_folders_are_read_as_the_folder_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FOLDER", 4)
    monkeypatch.setattr(files, "SUB_FOLDER", 2)
    told: dict[str, Any] = {}
    for made in ("flat", "spread"):
        folder = tmp_path / made
        stems = [f"train-{number:05d}-00000" for number in range(5)]
        names = [f"{stem}.{kind}" for stem in stems for kind in ("bin", "parquet")]
        for name, path in zip(
            names, files.spread(names) if made == "spread" else names, strict=True
        ):
            place = folder / "2024" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".bin"):
                np.arange(int(name[6:11]), int(name[6:11]) + 3, dtype="<u2").tofile(place)
            else:
                pq.write_table(pa.table({"id": [name]}), place)
        pq.write_table(pa.table({"id": ["h"]}), folder / "2024" / "heldout-00000-00000.parquet")
        shards = TokenFolder(folder)
        ids = [list(shards.read(shard, 0, 3)) for shard in shards.shards("2024", "train")]
        card = yaml.safe_dump({"configs": configs(folder)})
        (folder / "README.md").write_text(f"---\n{card}---\n")
        rows = {
            split: loaded["id"]
            for split, loaded in load_dataset(
                str(folder), "2024", cache_dir=str(tmp_path / "cache" / made)
            ).items()
        }
        told[made] = (ids, {split: list(column) for split, column in rows.items()})
    assert (tmp_path / "spread" / "2024" / "0004" / "train-00004-00000.bin").exists()
    assert told["flat"] == told["spread"]
    assert len(told["flat"][1]["train"]) == 5


def test_tokens_in_sub_folders_are_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Text {number} of some words, and one more. " * 5 for number in range(12)]
    tokenizer = write.train_tokenizer(texts, 300)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    written = tmp_path / "written"
    for task in range(4):
        documents = [{"text": text, "id": text, "origin": "o"} for text in texts[task::4]]
        write.write_tokens(written, "train", documents, tokenizer, 100, task)
    heldout = {"s": [{"text": texts[0], "id": "h", "origin": "o"}]}
    told = []
    for made, most in (("flat", 5000), ("spread", 3)):
        monkeypatch.setattr(files, "FOLDER", most)
        monkeypatch.setattr(files, "SUB_FOLDER", 4)
        folder = tmp_path / made
        facts = build.save_tokens(folder, tmp_path / "tokenizer", {"s": written}, heldout, 100)
        shards = TokenFolder(folder)
        names = [shard.path.rpartition("/")[2] for shard in shards.shards("s", "train")]
        ids = [shards.read(shard, 0, 50).tolist() for shard in shards.shards("s", "train")]
        told.append((facts["counts"], names, ids, len(shards.shards("s", "heldout"))))
    assert told[0] == told[1]
    assert len(list((tmp_path / "spread" / "s" / "0001").iterdir())) == 4

"""The whole preparation: what is planted is found, and a killed step changes no byte."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT, Workplace, serving
from tests.data import prepare_and_die
from tests.test_ladder import python

QUESTION = (
    "A farmer has seventeen sheep and sells all but nine of them at the market in the next "
    "village before noon; how many sheep walk home with him that evening?"
)
PARAPHRASED = (
    "Twelve apples lie on the kitchen table, a child eats five of them while nobody is looking "
    "and the cat pushes another three onto the floor; how many apples are left on the table?"
)


def page(seed: int, sentences: int = 24) -> str:
    """A page of some 300 words that shares no run of five with another."""
    rng = random.Random(seed)
    pool = [f"{a}{b}" for a in ("al", "ber", "cor", "dan", "el", "fos") for b in WORDS]
    lines = []
    for _ in range(sentences):
        words = rng.choices(pool, k=rng.randint(9, 14))
        lines.append(" ".join(["The", *words, "and", "that"]) + ".")
    return "\n".join(" ".join(lines[at : at + 4]) for at in range(0, sentences, 4))


WORDS = [f"{a}{b}" for a in ("a", "e", "i", "o", "u", "ea") for b in "bcdfglmnprstvz"]


def edited(text: str, places: range) -> str:
    words = text.split(" ")
    for place in places:
        words[place] = f"{words[place][::-1]}x"
    return " ".join(words)


def planted() -> dict[str, str]:
    """Name → text. All but those that begin with `out-` are to stay."""
    pages = {f"page-{seed}": page(seed) for seed in range(20)}
    count = len(pages["page-1"].split(" "))
    return {
        **pages,
        "out-exact": pages["page-0"].replace("\n", "\r\n") + "  ",
        "out-edited-in-one-place": edited(pages["page-1"], range(50, 50 + count // 10)),
        # One word in ten, all over: every other 5-gram is another one, Jaccard 0.3. No published
        # setting finds it (docs/data.md), and neither does this one.
        "edited-everywhere": edited(pages["page-2"], range(5, count, 10)),
        "out-short": "Not much to say. " * 10 + "." * 200,
        "out-boilerplate": "We use cookies to improve that page and to be with you.\n" * 30,
        "out-evaluation-item": f"{page(100, 8)} {QUESTION} {page(101, 8)}",
        "paraphrase": f"{page(102, 8)} On a kitchen table there were a dozen apples. A boy had "
        f"five, a cat knocked down three. What remains there? {page(103, 8)}",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Hub with the planted pages and a quiz, and a recipe that cleans them."""
    folder = tmp_path_factory.mktemp("planted")
    made = Workplace(folder / "home", folder / "recipes" / "planted")
    made.ladder.mkdir(parents=True)
    rows = [{"text": text, "name": name} for name, text in planted().items()]
    (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "more.jsonl").write_text('{"text": "never read"}\n')
    quiz = [(QUESTION, "nine"), (PARAPHRASED, "four"), ("Why?", "so")]
    lines = [json.dumps({"question": q, "answers": {"text": [a]}}) + "\n" for q, a in quiz]
    (folder / "test.jsonl").write_text("".join(lines))
    (made.ladder / "00-data.yaml").write_text(
        yaml.safe_dump(
            {
                "stage": "data",
                "sources": [
                    {
                        "name": "web",
                        "dataset": "some/pages",
                        "files": ["pages*"],
                        "license": "CC0-1.0",
                        "heldout_fraction": 0.0,
                        "filters": ["short", "gopher_repetition"],
                        "dedup": ["exact", "minhash"],
                    }
                ],
                "minhash": {"unit": "words", "ngrams": 5, "buckets": 14, "hashes": 8},
                "decontaminate": [
                    {
                        "name": "quiz",
                        "dataset": "some/quiz",
                        "columns": ["question", "answers.text"],
                    }
                ],
                "tasks": 2,
                "workers": 2,
                "vocab_size": 400,
                "hub_corpus_id": "planted-corpus",
                "hub_tokens_id": "planted-tokens",
                "hub_tokenizer_id": "planted-tokenizer",
            }
        )
    )
    with serving(made):
        for names, repo in ((["pages", "more"], "some/pages"), (["test"], "some/quiz")):
            files = [str(folder / f"{name}.jsonl") for name in names]
            added = made.moxin("hub", "add", *files, "--as", repo, "--type", "dataset")
            assert added.returncode == 0, added.stderr
        done = made.launch("data", "00-data")
        assert done.returncode == 0, done.stderr[-3000:]
        assert "INFO" not in done.stderr  # datatrove keeps its talk to itself
        yield made


LOADED = """
import json
from datasets import load_dataset
def rows(config, split="train"):
    return list(load_dataset("local/planted-corpus", config, split=split))
print(json.dumps({"web": rows("web"), "removed": rows("removed"), "files": rows("files"),
    "report": rows("contamination"), "items": rows("contaminated_items", "test")}))
"""


def test_what_is_planted_is_found_and_nothing_else_is_removed(place: Workplace) -> None:
    loaded = json.loads(python(place, LOADED))
    names = {text.replace("\r\n", "\n").strip(): name for name, text in planted().items()}
    removed = {
        names[row["text"]]: row["reason"] for row in loaded["removed"] if row["text"] in names
    }
    kept = {names[row["text"]] for row in loaded["web"]}
    duplicates = [row for row in loaded["removed"] if row["reason"] == "duplicate"]
    assert [names[row["text"]] for row in duplicates] == [names[page(0)]]
    near = {name for name, reason in removed.items() if reason == "near duplicate"}
    assert len(near) == 1
    assert near <= {"page-1", "out-edited-in-one-place"}  # either may be the one that stays
    assert removed["out-short"] == "short"
    assert removed["out-boilerplate"] == "dup_line_frac"
    assert removed["out-evaluation-item"] == "contaminated: quiz (13-gram)"
    assert len(loaded["removed"]) == 5
    assert kept >= {name for name in names.values() if not name.startswith("out-")} - near
    assert len(loaded["web"]) + len(loaded["removed"]) == len(planted())
    assert {row["license"] for row in loaded["web"]} == {"CC0-1.0"}
    assert [row["file"] for row in loaded["files"]] == ["pages.jsonl"]
    (report,) = loaded["report"]
    assert (report["documents"], report["found_items"], report["items"]) == (1, 1, 3)
    assert report["too_short"] == 1  # and the paraphrased item is not found
    status = {row["text"]: row["status"] for row in loaded["items"]}
    assert status == {QUESTION: "found", "Why?": "too short to look for"}


def test_counts_and_contamination_are_in_manifest_and_cards(place: Workplace) -> None:
    code = """
import json
from huggingface_hub import hf_hub_download
read = lambda repo, file: open(hf_hub_download(repo, file, repo_type="dataset")).read()
print(json.dumps([json.loads(read("local/planted-corpus", "moxin.json"))["counts"],
    read("local/planted-corpus", "README.md"),
    json.loads(read("local/planted-tokens", "moxin.json"))["contamination"]]))
"""
    counts, card, contamination = json.loads(python(place, code))
    assert counts["web/kept"] == len(planted()) - 5
    assert counts["web/contaminated: quiz (13-gram)"] == 1
    assert "| web/near duplicate | 1 |" in card
    assert "| web | quiz | 1 | 1 of 3 | 1 |" in card
    assert contamination[0]["set"] == "quiz"


def prepare(folder: Path, *kill: str, workers: str = "1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.data.prepare_and_die", str(folder), *kill],
        cwd=ROOT,
        env={**os.environ, "MOXIN_TEST_WORKERS": workers},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    done = prepare(tmp_path_factory.mktemp("undisturbed"))
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    reasons = {name.split("/")[1] for name in digests if name.startswith("removed/")}
    assert {"exact", "bloom", "minhash", "decontaminate"} <= reasons  # each step has work to do
    return digests


def killed_and_run_again(folder: Path, step: str, when: str) -> dict[str, str]:
    killed = prepare(folder, step, when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = prepare(folder)
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


def test_killed_in_a_step_it_ends_with_the_same_bytes(
    undisturbed: dict[str, str], tmp_path: Path
) -> None:
    assert killed_and_run_again(tmp_path, "minhash-1-signatures", "begin") == undisturbed


@pytest.mark.soak
def test_two_workers_write_the_same_bytes_as_one(
    undisturbed: dict[str, str], tmp_path: Path
) -> None:
    assert json.loads(prepare(tmp_path, workers="2").stdout) == undisturbed


@pytest.mark.soak
@pytest.mark.parametrize("when", ["begin", "end"])
@pytest.mark.parametrize("step", prepare_and_die.STEPS)
def test_killed_in_any_step_it_ends_with_the_same_bytes(
    undisturbed: dict[str, str], tmp_path: Path, step: str, when: str
) -> None:
    assert killed_and_run_again(tmp_path, step, when) == undisturbed

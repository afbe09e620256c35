"""The whole preparation: what is planted is found, nothing else is, and scores do without it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Workplace, serving
from tests.test_ladder import python
from tests.tiny import save_tiny_model

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


def quiz() -> list[dict[str, Any]]:
    """Items that any model answers right, there being one choice, or wrong, with two alike."""
    questions = [QUESTION, PARAPHRASED, "Why?", *(page(seed, 2) for seed in range(200, 204))]
    right = (QUESTION, "Why?", PARAPHRASED)
    return [
        {
            "question": question,
            "choices": choices,
            "answers": {"text": choices},
            "label": len(choices) - 1,  # of two that are alike, the first is taken
        }
        for question in questions
        for choices in [["four"] if question in right else ["so", "so"]]
    ]


PUSH_QUIZ = """
from datasets import Dataset
Dataset.from_list({rows}).push_to_hub("some/quiz", "choices", split="test")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Hub with the planted pages and a quiz, and a recipe that cleans them."""
    folder = tmp_path_factory.mktemp("planted")
    made = Workplace(folder / "home", folder / "recipes" / "planted")
    made.ladder.mkdir(parents=True)
    rows = [{"text": text, "name": name} for name, text in planted().items()]
    (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "more.jsonl").write_text('{"text": "never read"}\n')
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
                        "configs": ["choices"],
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
        files = [str(folder / f"{name}.jsonl") for name in ("pages", "more")]
        added = made.moxin("hub", "add", *files, "--as", "some/pages", "--type", "dataset")
        assert added.returncode == 0, added.stderr
        python(made, PUSH_QUIZ.format(rows=quiz()))
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
    assert (report["documents"], report["found_items"], report["items"]) == (1, 1, 7)
    assert report["too_short"] == 1  # and the paraphrased item is not found
    status = {row["text"]: row["status"] for row in loaded["items"]}
    assert status == {QUESTION: "found", "Why?": "too short to look for"}


def test_counts_and_contamination_are_in_manifest_and_cards(place: Workplace) -> None:
    code = """
import json
from huggingface_hub import hf_hub_download
def read(repo, file):
    return open(hf_hub_download(f"local/planted-{repo}", file, repo_type="dataset")).read()
print(json.dumps([json.loads(read("corpus", "moxin.json"))["counts"], read("corpus", "README.md"),
    json.loads(read("tokens", "moxin.json")), read("tokens", "README.md")]))
"""
    counts, card, tokens, tokens_card = json.loads(python(place, code))
    assert counts["web/kept"] == len(planted()) - 5
    assert counts["web/contaminated: quiz (13-gram)"] == 1
    assert "| web/near duplicate | 1 |" in card
    total = len(planted())
    assert f"| web | read | {total} | 100.0% |" in card
    assert f"| web | near duplicate | 1 | {1 / total:.1%} |" in card
    assert f"| web | **kept** | {total - 5} |" in card
    assert "| web | quiz | 1 | 1 of 7 | 1 |" in card
    assert tokens["contamination"][0]["set"] == "quiz"
    documents, count, size, whole = (
        tokens["counts"][f"web/train/{what}"]
        for what in ("documents", "tokens", "bytes", "in_sequences")
    )
    assert "| source | documents | tokens | bytes a token | fill rate at 4,096 |" in tokens_card
    row = f"| web/train | {documents} | {count:,} | {size / count:.3f} | {whole / count:.4f} |"
    assert row in tokens_card


def evaluated(place: Workplace, name: str, **more: str) -> list[dict[str, Any]]:
    """The rows that the stage `evaluate` pushes for the quiz, with more keys in its recipe."""
    recipe = {
        "stage": "evaluate",
        "models": ["some/tiny"],
        "problems_name": "some/quiz",
        "evaluations": [{"task": "choices", "model": "some/tiny"}],
        "hub_scores_id": name,
        **more,
    }
    (place.ladder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    done = place.launch("evaluate", name)
    assert done.returncode == 0, done.stderr[-3000:]
    code = f"""
import json
from datasets import load_dataset
print(json.dumps(list(load_dataset("local/{name}", split="test"))))
"""
    rows: list[dict[str, Any]] = json.loads(python(place, code))
    return rows


def test_a_clean_score_leaves_out_what_was_found(place: Workplace, tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    files = [str(path) for path in tmp_path.iterdir()]
    added = place.moxin("hub", "add", *files, "--as", "some/tiny")
    assert added.returncode == 0, added.stderr
    (row,) = evaluated(place, "50-scores", corpus_name="planted-corpus@data")
    assert (row["items"], row["value"]) == (7, pytest.approx(3 / 7))
    # Without the item of a page, and "Why?", which nobody can look for: one right of five.
    assert (row["clean_items"], row["clean_value"]) == (5, 0.2)
    assert row["clean_stderr"] == pytest.approx(0.2)
    assert row["clean_note"] == "left out: 1 found in the corpus, 1 too short to look for"
    code = "from huggingface_hub import HfApi\nprint(HfApi().list_repo_files('some/tiny'))"
    assert "README.md" not in python(place, code)  # nobody writes on a card of somebody else's

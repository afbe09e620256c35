"""Scores on a model's main, against a running Hub: all forms, and all that leaves main alone."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, parse_eval_result_entries
from test_push_and_pull import MANIFEST, do

from moxin_recipes.hub import session
from moxin_recipes.hub.cards.scores import add_scores
from moxin_recipes.hub.manifest import payload_digest, payload_files
from moxin_recipes.hub.pull import Parent, commit_of, resolve
from moxin_recipes.hub.push import push
from moxin_recipes.hub.splits import write_split
from moxin_recipes.recipe.fields import Reference

BENCHMARK = {"path": "some/sums", "config": "main", "split": "test", "commit": "5" * 40}


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    (made / "weights.safetensors").write_bytes(bytes(1000))
    return made


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "moxin_recipes.hub.cards.scores")
    return caplog


def at(repo: str, revision: str = "main") -> Parent:
    return resolve(Reference("models", "model", repo, revision))


def unit(parent: Parent, task: str = "sums", *, benchmark: bool = True, **more: Any) -> Any:
    settings = {"shots": 8, "chat": False, "system": None, "samples": 1, "lm_eval": "0.4.13"}
    dataset = BENCHMARK if benchmark else {"path": None, "config": None, "split": "test"}
    settings["dataset"] = {"commit": None, **dataset, "benchmark": benchmark}
    accuracy = {"metric": "acc", "filter": "none", "value": 0.25, "stderr": 0.1}
    match = {"metric": "exact_match", "filter": "strict", "value": 0.5, "stderr": None}
    return {
        "key": f"key of {task}", "model": "m", "repo": parent.repo, "revision": parent.revision,
        "commit": parent.commit, "payload": parent.payload, "task": task, "settings": settings,
        "problems": 20, "whole": True, "failed": None,
        "scores": [
            {**accuracy, "low": 0.1, "high": 0.5, "clean_value": 0.3, "clean_items": 18},
            {**match, "low": None, "high": None, "clean_value": None, "clean_items": None},
        ],
    } | more  # fmt: skip


def asked(parent: Parent, task: str, **settings: Any) -> Any:
    made = unit(parent, task, key=f"{task} {settings}")
    made["settings"] |= settings
    return made


def text(repo: str, path: str = "README.md") -> str:
    read = session.api().hf_hub_download(f"local/{repo}", path, revision=at(repo).commit)
    return Path(read).read_text(encoding="utf-8")


def entries(repo: str, path: str) -> Any:
    return parse_eval_result_entries(yaml.safe_load(text(repo, f".eval_results/{path}")))


def results(repo: str) -> list[tuple[str, str, Any]]:
    """(dataset, metric's name, value) of each, as the client reads the card."""
    found = ModelCard(text(repo)).data.eval_results or []
    return [(r.dataset_type, r.metric_name, r.metric_value) for r in found]


def bare(repo: str, **files: str) -> Parent:
    """A repository that these recipes did not make."""
    session.api().create_repo(f"local/{repo}")
    return write(repo, {"config.json": "{}", **files})


def write(repo: str, files: dict[str, str]) -> Parent:
    operations = [CommitOperationAdd(path, content.encode()) for path, content in files.items()]
    session.api().create_commit(f"local/{repo}", operations, commit_message="files")
    return at(repo)


def test_a_whole_set_is_there_in_all_forms_in_one_commit_and_once(folder: Path) -> None:
    first = do(folder, "scores-a", tags=("sft", "done-k1"))
    parent = at("scores-a", "sft")
    units = [
        unit(parent),
        asked(parent, "chains", shots=0, chat=True, samples=4),
        asked(parent, "chains", shots=None, system="Think."),
        unit(parent, "own|problems", benchmark=False),
        unit(parent),
    ]
    add_scores(parent, units)
    main = at("scores-a")
    history = session.api().list_repo_commits("local/scores-a")
    assert [made.commit_id for made in history[:2]] == [main.commit, first]
    assert main.payload == parent.payload
    assert {commit_of("local/scores-a", "model", tag) for tag in ("sft", "done-k1")} == {first}

    files = session.api().list_repo_files("local/scores-a")
    found = {path for path in files if path.startswith(".eval_results/")}
    assert found == {".eval_results/moxin-chains.yaml", ".eval_results/moxin-sums.yaml"}
    (entry,) = entries("scores-a", "moxin-sums.yaml")
    assert (entry.dataset_id, entry.task_id, entry.value) == ("some/sums", "sums", 0.25)
    assert (entry.dataset_revision, entry.date) == ("5" * 40, None)
    interval = "95 % interval 0.1000 to 0.5000"
    assert entry.notes == f"sums: acc, 8-shot, 20 items, {interval}, lm-eval 0.4.13"
    notes = [entry.notes for entry in entries("scores-a", "moxin-chains.yaml")]
    assert sorted(note.partition(", 20 items")[0] for note in notes) == [
        "chains: acc, 0-shot, chat, 4 samples", "chains: acc, system prompt"
    ]  # fmt: skip

    card = ModelCard.load("local/scores-a")
    assert card.data.library_name == "transformers"
    assert len(card.data.eval_results) == 8
    of_sums = [r for r in card.data.eval_results if r.metric_name == "sums: acc"]
    assert [(r.dataset_type, r.dataset_config, r.dataset_split) for r in of_sums] == [
        ("some/sums", "main", "test")
    ]
    assert of_sums[0].dataset_revision == "5" * 40
    assert of_sums[0].metric_args == {
        "stderr": 0.1, "interval": [0.1, 0.5], "items": 20, "commit": first, "unit": "key of sums",
        "asked": "8-shot",
        "clean value": 0.3, "clean items": 18,
    }  # fmt: skip
    measured = "0.2500 | 0.1000 to 0.5000 | 20 | 0.3000 (18 items)"
    made = f"| sums | 8-shot | acc | {measured} | some/sums@555555555555 | {first[:12]} |"
    assert card.text.splitlines().count(made) == 1
    measured = f"exact_match (strict) | 0.5000 | – | 20 | – | – | {first[:12]}"
    made = f"| own\\|problems | 8-shot | {measured} |"
    assert made in card.text.splitlines()
    assert card.text.index("## Scores") < card.text.index("## Made from")

    add_scores(main, units[::-1])
    assert at("scores-a").commit == main.commit


def test_a_set_that_shrank_takes_its_earlier_scores_away(folder: Path) -> None:
    do(folder, "scores-b")
    parent = at("scores-b")
    add_scores(parent, [unit(parent), unit(parent, "chains")])
    add_scores(parent, [unit(parent, "chains"), unit(parent, failed="no such dataset")])
    files = session.api().list_repo_files("local/scores-b")
    assert [path for path in files if path.startswith(".")] == [
        ".eval_results/moxin-chains.yaml", ".gitattributes"
    ]  # fmt: skip
    assert {name for _, name, _ in results("scores-b")} == {
        "chains: acc", "chains: exact_match (strict)"
    }  # fmt: skip
    assert "| sums |" not in text("scores-b")
    add_scores(parent, [unit(parent, "chains", benchmark=False)])
    assert ".eval_results/moxin-chains.yaml" not in session.api().list_repo_files("local/scores-b")


@pytest.mark.parametrize(
    "change", [{"whole": False}, {"failed": "no such dataset"}, {"payload": "another"}]
)
def test_what_is_not_a_whole_set_leaves_main_as_it_was(
    folder: Path, said: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    repo = f"scores-c-{next(iter(change))}"
    do(folder, repo)
    parent = at(repo)
    add_scores(parent, [unit(parent)])
    before = at(repo).commit
    add_scores(parent, [unit(parent, **change), unit(parent, "chains", **change)])
    assert at(repo).commit == before
    assert "no task was scored on the whole set" in said.text
    add_scores(parent, [])
    assert at(repo).commit == before


def test_a_step_on_the_way_and_a_main_that_moved_leave_it_as_it_was(
    folder: Path, said: pytest.LogCaptureFixture
) -> None:
    do(folder, "scores-d", branch="step-1")
    step = at("scores-d", "step-1")
    (folder / "weights.safetensors").write_bytes(bytes(2000))
    main = do(folder, "scores-d", key="k2", tags=("sft",))
    add_scores(step, [unit(step)])
    scored = at("scores-d", "sft")
    (folder / "weights.safetensors").write_bytes(bytes(3000))
    assert at("scores-d").commit == main
    moved = do(folder, "scores-d", key="k3")
    add_scores(scored, [unit(scored)])
    assert at("scores-d").commit == moved
    lines = [f"local/scores-d@{name}: main has another payload" for name in ("step-1", "sft")]
    assert all(line in said.text for line in lines)


def test_a_main_that_moves_meanwhile_is_left_alone(
    folder: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(folder, "scores-e")
    parent = at("scores-e")
    real, moved = session.api().create_commit, []

    def late(*args: Any, **kwargs: Any) -> Any:
        other = HfApi(token=session.api().token)
        moved.append(other.upload_file(
            path_or_fileobj=b"new", path_in_repo="new.txt", repo_id="local/scores-e"
        ).oid)  # fmt: skip
        return real(*args, **kwargs)

    monkeypatch.setattr(session.api(), "create_commit", late)
    add_scores(parent, [unit(parent)])
    assert at("scores-e").commit == moved[0]
    assert "main moved in this moment" in said.text


def test_the_text_and_the_entries_of_others_stay() -> None:
    theirs = {
        "task": {"type": "text-generation"},
        "dataset": {"name": "Sums", "type": "some/sums"},
        "metrics": [{"type": "acc", "value": 0.75, "name": "theirs"}],
    }
    index = yaml.safe_dump({"model-index": [{"name": "another-name", "results": [theirs]}]})
    body = "# By hand\n\nNothing | of this\nis ours. <!-- note -->\n"
    hidden = "- dataset: {id: some/sums, task_id: x}\n  value: 1\n"
    card = f"---\nlicense: mit\n# why\nlanguage: en\n{index}---\n{body}"
    parent = bare("scores-f", **{"README.md": card, ".eval_results/theirs.yaml": hidden})
    add_scores(parent, [unit(parent)])
    once = at("scores-f").commit
    add_scores(parent, [unit(parent)])
    assert at("scores-f").commit == once
    added = text("scores-f")
    assert body in added
    assert ModelCard(added).data.license == "mit"
    assert [name for _, name, _ in results("scores-f")] == [
        "theirs", "sums: acc", "sums: exact_match (strict)"
    ]  # fmt: skip
    assert text("scores-f", ".eval_results/theirs.yaml") == hidden
    assert at("scores-f").payload == parent.payload
    write("scores-f", {"README.md": added.replace("# By hand", "# By hand, again")})
    add_scores(parent, [unit(parent, scores=[])])
    assert [name for _, name, _ in results("scores-f")] == ["theirs"]
    assert body.replace("hand", "hand, again") in text("scores-f")
    assert text("scores-f", ".eval_results/theirs.yaml") == hidden


@pytest.mark.parametrize(
    ("repo", "card"),
    [
        ("scores-n", "---\r\nlicense: mit\r\n---\r\n# Lines\r\nof Windows\r\n"),
        ("scores-o", "\ufeff---\nlicense: mit\n---\n# A mark before\n"),
        ("scores-p", "# No metadata\n"),
        ("scores-q", "---\nlicense: mit\n---"),
    ],
)
def test_cards_of_any_form_are_added_to_once(repo: str, card: str) -> None:
    parent = bare(repo, **{"README.md": card})
    add_scores(parent, [unit(parent)])
    once = at(repo).commit
    assert once != parent.commit
    read = ModelCard.load(f"local/{repo}")
    assert read.data.license == ("mit" if "mit" in card else None)
    assert len(read.data.eval_results) == 2
    assert card.replace("\r", "").split("---")[-1].strip() in read.text.replace("\r", "")
    add_scores(parent, [unit(parent)])
    assert at(repo).commit == once


def test_the_form_of_before_gives_way() -> None:
    args = {"stderr": 0.1, "items": 20, "commit": "1" * 40, "clean items": None}
    old = {
        "task": {"type": "text-generation"},
        "dataset": {"name": "sums (8-shot)", "type": "sums", "config": "8-shot"},
        "metrics": [{"type": "acc", "value": 0.2, "args": args}],
    }
    index = yaml.safe_dump({"model-index": [{"name": "scores-g", "results": [old]}]})
    parent = bare("scores-g", **{"README.md": f"---\n{index}---\nText\n"})
    add_scores(parent, [unit(parent)])
    assert {dataset for dataset, _, _ in results("scores-g")} == {"some/sums"}


def test_a_model_without_a_card_gets_one() -> None:
    parent = bare("scores-h")
    add_scores(parent, [unit(parent)])
    assert ModelCard.load("local/scores-h").data.eval_results
    assert "## Scores" in text("scores-h")
    assert at("scores-h").payload == parent.payload
    after = at("scores-h")
    add_scores(after, [unit(after, commit=parent.commit)])
    assert at("scores-h").commit == after.commit


@pytest.mark.parametrize(
    ("repo", "metadata"),
    [
        ("scores-i", "model-index:\n- none: such"),
        ("scores-j", "model-index:\n- x"),
        ("scores-k", "model-index: [{name: a}]"),
    ],
)
def test_a_card_that_cannot_be_read_stays_and_says_so(
    said: pytest.LogCaptureFixture, repo: str, metadata: str
) -> None:
    parent = bare(repo, **{"README.md": f"---\n{metadata}\n---\n"})
    add_scores(parent, [unit(parent)])
    assert at(repo).commit == parent.commit
    assert "its README.md cannot be read" in said.text


def test_scores_count_in_no_payload_and_go_with_it(folder: Path) -> None:
    before = payload_digest(payload_files(folder))
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "moxin-sums.yaml").write_text("[]")
    assert payload_digest(payload_files(folder)) == before
    do(folder, "scores-l")
    assert not any(
        path.startswith(".e") for path in session.api().list_repo_files("local/scores-l")
    )
    parent = at("scores-l")
    add_scores(parent, [unit(parent)])
    do(folder, "scores-l")
    assert ModelCard.load("local/scores-l").data.eval_results
    (folder / "weights.safetensors").write_bytes(bytes(2000))
    do(folder, "scores-l", key="k2")
    assert not any(
        path.startswith(".e") for path in session.api().list_repo_files("local/scores-l")
    )
    assert "## Scores" not in text("scores-l")


def test_a_scores_repository_loads_its_table_and_its_items(tmp_path: Path) -> None:
    row = {"model": "m", "task": "a|b", "metric": "acc", "items": 20, "shots": None}
    rows = [
        {**row, "value": 0.25, "low": 0.1, "high": 0.5, "failed": None},
        {**row, "value": None, "low": None, "high": None, "failed": "no\nsuch dataset"},
    ]
    write_split(tmp_path, "test", rows)
    for number in range(2):
        write_split(tmp_path / "items", f"test-{number:05d}", [{"doc_id": number}])
    (tmp_path / "units.json").write_text('{"format": 1, "units": []}')
    manifest = {**MANIFEST, "stage": "evaluate", "scores": rows, "metrics": {"long name": 1}}
    push(tmp_path, "scores-m", "dataset", manifest, private=True)
    table = load_dataset("local/scores-m", split="test")
    assert [row["value"] for row in table] == [0.25, None]
    items = load_dataset("local/scores-m", "items", split="test")
    assert items["doc_id"] == [0, 1]
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| m | a\\|b | acc | 0.2500 | 0.1000 to 0.5000 | 20 | – |" in card
    assert "| m | a\\|b | acc | failed: no such dataset | – | 20 | – |" in card
    assert "long name" not in card

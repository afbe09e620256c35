"""Scores on main, as the benchmarks' leaderboards find them, and on cards that a Hub refuses."""

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy
from test_card_scores import at, bare, entries, said, text, unit

from moxin_recipes.hub import session
from moxin_recipes.hub.cards.scores import add_scores

__all__ = ["said"]


pytestmark = pytest.mark.usefixtures("hub")


def benchmark(name: str, tasks: str) -> str:
    repo = f"local/{name}"
    session.api().create_repo(repo, repo_type="dataset")
    listed = CommitOperationAdd("eval.yaml", f"name: Sums\n{tasks}".encode())
    session.api().create_commit(repo, [listed], commit_message="tasks", repo_type="dataset")
    return repo


@pytest.mark.parametrize(
    ("name", "tasks", "ids"),
    [
        ("one", "tasks: [{id: headline, config: main, split: test}]", ["headline"]),
        ("its-split-is-test", "tasks: [{id: headline, config: main}]", ["headline"]),
        ("of-all", "tasks: [{id: x, config: main}, {id: sums, config: main}]", ["sums"]),
        ("unclear", "tasks: [{id: x, config: main}, {id: y, config: main}]", []),
        ("another-config", "tasks: [{id: headline, split: test}]", []),
        ("another-split", "tasks: [{id: headline, config: main, split: dev}]", []),
        ("no-list", "tasks: none", []),
        ("no-yaml", "tasks: [", []),
        ("not-ours", "tasks: [none, {split: test, config: main}]", []),
    ],
)
def test_an_entry_has_the_id_of_the_task_on_its_benchmark(
    name: str, tasks: str, ids: list[str]
) -> None:
    parent = bare(f"listed-{name}")
    made = unit(parent)
    made["settings"]["dataset"]["path"] = benchmark(f"bench-{name}", tasks)
    add_scores(parent, [made])
    found = session.api().list_repo_files(f"local/listed-{name}")
    assert [path for path in found if path.startswith(".eval_results/")] == [
        ".eval_results/moxin-sums.yaml" for _ in ids
    ]
    if ids:
        (entry,) = entries(f"listed-{name}", "moxin-sums.yaml")
        assert (entry.dataset_id, entry.task_id) == (f"local/bench-{name}", ids[0])
        assert entry.notes.startswith("sums: acc, 8-shot")
    assert "## Scores" in text(f"listed-{name}")


def test_the_commit_that_was_scored_first_stays() -> None:
    first = bare("scored-again")
    add_scores(first, [unit(first)])
    main = at("scored-again")
    assert f"| some/sums@555555555555 | {first.commit[:12]} |" in text("scored-again")
    add_scores(main, [unit(main)])
    assert at("scored-again").commit == main.commit
    add_scores(main, [unit(main), unit(main, "chains")])
    assert f"| {first.commit[:12]} |" in text("scored-again")
    assert f"| {main.commit[:12]} |" in text("scored-again")


def test_a_card_that_the_hub_refuses_stays_and_says_so(said: pytest.LogCaptureFixture) -> None:
    bare("of-an-odd-licence", **{"card.md": "---\nlicense: of my own\n---\nText\n"})
    copied = CommitOperationCopy("card.md", "README.md")  # copies are not asked about
    session.api().create_commit("local/of-an-odd-licence", [copied], commit_message="card")
    parent = at("of-an-odd-licence")
    add_scores(parent, [unit(parent)])
    assert at("of-an-odd-licence").commit == parent.commit
    assert 'Invalid metadata in README.md. - Error: "license" must be one of' in said.text

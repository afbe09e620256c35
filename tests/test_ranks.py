"""What the processes of a launch tell each other: answers, errors, and that one has ended."""

import json
import subprocess
import sys
from typing import Any

import pytest
from torch.distributed import TCPStore

from moxin_recipes.hub.session import HubError
from moxin_recipes.ranks import RankError, Ranks, _tellable
from moxin_recipes.recipe.strict import RecipeError
from tests.conftest import ROOT
from tests.light_ranks import A_NODE, RANKS


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank was told at each step; the store is not theirs, as under torchrun."""
    out = tmp_path_factory.mktemp("ranks")
    store = TCPStore("127.0.0.1", 0, RANKS, is_master=True, wait_for_workers=False)
    subprocess.run(
        [sys.executable, "-m", "tests.light_ranks", str(store.port), str(out)],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    lines = [(out / str(rank)).read_text().splitlines() for rank in range(RANKS)]
    return [dict(map(json.loads, of_rank)) for of_rank in lines]


def same(told: list[dict[str, Any]], step: str) -> Any:
    """What all were told, which is the same."""
    answers = [of_rank[step] for of_rank in told]
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def test_an_answer_is_told_to_all_or_to_a_node(told: list[dict[str, Any]]) -> None:
    assert same(told, "once") == [{"by": 0}]
    assert same(told, "gather") == [[rank**2 for rank in range(RANKS)]]
    assert [of_rank["a node"] for of_rank in told] == [[r - r % A_NODE] for r in range(RANKS)]


def test_a_cache_is_filled_by_the_first_of_all_then_of_each_node(
    told: list[dict[str, Any]],
) -> None:
    before = [of_rank["turn"][0] for of_rank in told]
    assert before[0] == []
    assert 0 in before[A_NODE]
    assert all(rank - rank % A_NODE in before[rank] for rank in range(RANKS) if rank % A_NODE)
    again = [of_rank["turn again"][0].count(0) for of_rank in told]
    assert again[0] == 1  # itself, before
    assert min(again[1:]) >= 2
    failed = [of_rank["turn of one that fails"] for of_rank in told]
    assert failed[4:] == [["RecipeError", "4"]] * 4
    assert all(len(answer) == 1 for answer in failed[:4])


def test_an_error_is_raised_by_all(told: list[dict[str, Any]]) -> None:
    assert same(told, "recipe") == ["RecipeError", "`key`: wrong"]
    assert same(told, "full") == ["OSError", "[Errno 28] No space left"]
    assert same(told, "one of all") == ["RecipeError", "5"]
    assert [of_rank["hub"][1] for of_rank in told[:5:4]] == ["missing 0", "missing 4"]
    assert {tuple(of_rank["hub"]) for of_rank in told} == {
        ("MissingError", "missing 0"),
        ("MissingError", "missing 4"),
    }
    assert told[0]["bug"] == ["KeyError", "'k'"]
    assert {tuple(of_rank["bug"]) for of_rank in told[1:]} == {
        ("RankError", "rank 0 failed: KeyError: 'k'")
    }


def test_one_says_what_all_have_to_say(told: list[dict[str, Any]]) -> None:
    assert sorted(of_rank["says"] for of_rank in told) == [[False]] * (RANKS - 1) + [[True]]


def test_who_waits_for_one_that_has_ended_ends_too(told: list[dict[str, Any]]) -> None:
    assert "ended" not in told[4]
    assert [of_rank["ended"] for of_rank in told[:4]] == [[0]] * 4
    for of_rank in told[5:]:
        assert of_rank["ended"][1].startswith("rank 4 has ended, while others waited for j")
    for of_rank in (*told[:4], *told[5:]):
        assert of_rank["all ended"][1].startswith("rank 4 has ended")


def test_one_process_needs_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    alone = Ranks()
    assert alone.once("a", lambda: 1) == alone.once_a_node("b", lambda: 1) == 1
    with alone.in_turn("c"):
        pass
    assert alone.gather("d", lambda: 1) == [1]
    assert alone.says("a line")
    assert alone._connected is None


def test_what_cannot_be_made_again_is_told_in_words() -> None:
    class Odd(OSError):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} {two}")

    for error in (Odd("no", "way"), ValueError("no way")):
        told = _tellable(error, 3)
        assert isinstance(told, RankError)
        assert f"rank 3 failed: {type(error).__name__}: no way" in str(told)
    for error in (OSError(5, "no way"), HubError("no way"), RecipeError("no way")):
        assert _tellable(error, 3) is error

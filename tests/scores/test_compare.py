"""Two models on the same items, and a model beside the paper: no difference without its error."""

import json
import math
from typing import Any

import pytest
from tests.conftest import Workplace
from tests.scores.written import Scored, moxin, push, scored, write

from moxin_recipes.recipe.keys.evaluate import suite

PASS = {"metric": "pass@2", "filter": "none", "of": "pass", "aggregation": "pass@2"}
LOSS = {"metric": "loss", "filter": "none", "of": "loss", "aggregation": "mean"}
LOSS |= {"higher_is_better": False}
PPL = {"metric": "ppl", "filter": "none", "of": "ppl", "aggregation": "weighted_perplexity"}
NORM = {"metric": "acc_norm", "filter": "none", "of": "acc_norm", "aggregation": "mean"}
EXACT = NORM | {"metric": "exact_match", "of": "exact_match"}
PAPER = "Moxin-7B-Enhanced"


def models() -> tuple[list[Scored], dict[str, list[Scored]]]:
    """Two models: of 400 problems A alone has 19 right and B alone 12; and all sorts of tasks."""
    made: list[Scored] = []
    for model, alone, more in (("m@a", range(19), 1), ("m@b", range(19, 31), 0)):
        made += [
            scored(model, "pairs", [[float(n in alone or n >= 300)] for n in range(400)]),
            scored(model, "code", [[float(k < n) for k in range(4)] for n in range(4)], PASS),
            scored(model, "loss", [[3.0 - more]] * 30, LOSS),
            scored(model, "text", [[[-3.0, 2]], [[-5.0, 4]]], PPL),
            scored(model, "one", [[1.0]], shots=5 * more),
            scored(model, "uneven", [[1.0], [0.0], [1.0]][: 2 + more]),
            scored(model, "twins", [[float(n % 3 == 0)] for n in range(8)]),
            scored(model, "first", [[float(more)]] * 3),
        ]
    arc = [[float(n < 130)] for n in range(200)]
    made.append(scored("m@a", "arc_challenge", arc, NORM, shots=25, chat=True))
    greedy = [[float(n < 35)] for n in range(50)]
    made.append(scored("m@a", "math_500", greedy, EXACT))
    # None of these is what the paper has: sampled, a part, another metric or number of shots.
    made.append(scored("m@a", "math_500", [one * 16 for one in greedy], EXACT))
    made.append(scored("m@a", "math_500", greedy[:9], EXACT, limit=9))
    made.append(scored("m@a", "math_500", greedy, seed=2))
    made.append(scored("m@a", "arc_challenge", arc, NORM, shots=5))
    return made, {"both/a": made[6:8], "both/b": made[14:16]}


@pytest.fixture(scope="module")
def scores(bench: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The place, with those of `models` as `pair` and a third model's as `apart`."""
    folder = tmp_path_factory.mktemp("scores")
    apart = write(folder / "apart", [scored("c@main", "elsewhere", [[1.0], [0.0]])], {})
    push(bench, {"pair": write(folder / "pair", *models()), "apart": apart})
    return bench


def compared(place: Workplace, a: str, b: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    done = moxin(place, "compare", a, b, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    rows = {row["task"]: row for row in said["rows"]}
    assert len(rows) == len(said["rows"])
    return rows, said["notes"]


def test_the_same_items_are_paired(scores: Workplace) -> None:
    rows, notes = compared(scores, "pair:@a", "pair:@b")
    assert set(rows) == {"pairs", "code", "loss", "one", "uneven", "both"}
    pairs = rows["pairs"]
    assert (pairs["pairs"], pairs["alone_a"], pairs["alone_b"]) == (400, 19, 12)
    assert (pairs["difference"], round(pairs["stderr"], 4)) == (7 / 400, 0.0139)
    assert pairs["low"] < 0 < pairs["high"]
    assert pairs["p"] > 0.05
    assert pairs["verdict"] == "noise"
    assert rows["code"]["metric"] == "pass@2"
    assert (rows["loss"]["difference"], rows["loss"]["verdict"]) == (-1.0, "A better")
    assert (rows["one"]["difference"], rows["one"]["stderr"]) == (None, None)
    uneven = rows["uneven"]
    assert (uneven["pairs"], uneven["only_a"], uneven["only_b"]) == (2, 1, 0)
    both = rows["both"]  # eight of `twins`, which are alike, and three that A alone has right
    assert (both["pairs"], both["alone_a"], both["difference"]) == (11, 3, pytest.approx(3 / 11))
    assert "not compared: text: ppl is no mean over items" in notes
    assert "settings differ: one: shots 5 / 0" in notes
    assert (rows["one"]["shots_a"], rows["one"]["shots_b"]) == (5, 0)


def test_no_difference_is_drawn_without_its_error(scores: Workplace) -> None:
    drawn = moxin(scores, "compare", "pair:@a", "pair:@b").stdout
    assert "+0.0175 ± 0.0139" in drawn
    assert "no error, 1 pair" in drawn
    differences = [line for line in drawn.splitlines() if line.startswith("│")]
    assert len(differences) == 6
    assert all("±" in line or "no error" in line for line in differences)


def test_what_cannot_be_compared_is_one_line(scores: Workplace) -> None:
    for a, b, said in (
        ("pair", "pair:@b", "pair: 2 models fit; write pair:MODEL with one of: m@a, m@b"),
        ("pair:@c", "pair:@b", "pair:@c: 0 models fit"),
        ("pair:@a", "apart", "m@a and c@main have no task and item in common"),
        ("pair:@a", "paper:Moxin-7B-Enhansed", "did you mean `Moxin-7B-Enhanced`?"),
        (
            "apart",
            f"paper:{PAPER}",
            "c@main has no whole task, with the paper's shots, samples and metric",
        ),
    ):
        done = moxin(scores, "compare", a, b)
        assert done.returncode == 1, (a, b)
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_score_stands_beside_the_papers(scores: Workplace) -> None:
    rows, notes = compared(scores, "pair:@a", f"paper:{PAPER}")
    assert set(rows) == {"arc_challenge"}
    row, paper = rows["arc_challenge"], suite("few-shot").paper[PAPER]["arc_challenge"] / 100
    assert (row["here"], row["paper"], row["items"]) == (0.65, paper, 200)
    assert row["paper_stderr"] == pytest.approx(math.sqrt(paper * (1 - paper) / 200))
    own = math.sqrt(0.65 * 0.35 / 199)
    assert row["stderr"] == pytest.approx(math.hypot(row["paper_stderr"], own))
    assert (row["paper_in_interval"], row["verdict"]) == (row["low"] <= paper, "noise")
    assert "settings differ: arc_challenge: chat True / False" in notes
    assert [note for note in notes if note.startswith("differs from the paper: The paper names")]
    drawn = moxin(scores, "compare", "pair:@a", f"paper:{PAPER}").stdout
    assert f"{0.65 - paper:+.4f} ± {row['stderr']:.4f}" in drawn
    maths, notes = compared(scores, "pair:@a", "paper:Moxin-7B-RL-DeepScaleR")
    assert [(row["task"], row["here"], row["paper"]) for row in maths.values()] == [
        ("math_500", 0.7, 0.68)
    ]
    assert any("stops at 2,048" in note for note in notes)
    far, _ = compared(scores, "pair:@a", "paper:Moxin-7B-Original")
    assert (far["arc_challenge"]["verdict"], far["arc_challenge"]["paper_in_interval"]) == (
        "higher",
        False,
    )

"""What the pictures and tables of a ladder say, from manifests that are written here."""

import dataclasses
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.conftest import ROOT

from moxin_recipes.ladder import order
from moxin_recipes.views import figure, lineage, pictures, planned, report, tables
from moxin_recipes.views.panels import Bars, Curves, Dots, Line, Score
from moxin_recipes.views.stages import Output, Stage

RECIPES = {one.name: one for one in order.read(ROOT / "recipes" / "moxin-nano")}
HOSTILE = 'a <script>alert("$x$ & \\frac")</script>'


def manifest(**facts: Any) -> dict[str, Any]:
    hardware = {"gpus": [], "cpus": 2, "cpu": None, "machine": "x86_64", "processes": 1}
    whole = {"payload": "9" * 64, "seconds": 2.0, "hardware": hardware, "parents": []}
    return whole | {"code": {"version": "0.1.0"}} | facts


def stage(name: str, commit: str, before: str | None = None, **facts: Any) -> Stage:
    """A stage of moxin-nano that is done, with one output at `commit`."""
    recipe = RECIPES[name]
    key, repo = next(iter(recipe.outputs.items()))
    output = Output(f"local/{repo}", recipe.output_type(key), commit, manifest(**facts))
    return Stage(recipe, "done", {key: output}, before)


def started(commit: str) -> list[dict[str, str]]:
    place = {"repo": "local/moxin-nano-base", "revision": "x", "type": "model", "payload": "8"}
    return [{"key": "model_name_or_path", "commit": commit, **place}]


def test_phases_stand_at_the_tokens_that_their_models_were_trained_on() -> None:
    """Two phases from one model: each begins where that one ended, in whatever order they are."""
    bits = {"metrics": {"bits_per_byte": 3.0, "bits_per_byte/code": 2.5}}
    stages = [
        stage("10-init", "c0", metrics={"bits_per_byte": 5.0}),
        stage("22-pretrain-enhance", "c3", parents=started("c1"), tokens=30, **bits),
        stage("20-pretrain-2k", "c1", parents=started("c0"), tokens=100, **bits),
        stage("21-pretrain-4k", "c2", parents=started("c1"), tokens=7, **bits),
    ]
    (panel,) = pictures.bits(stages)
    assert isinstance(panel, Curves)
    assert [line.label for line in panel.lines] == ["all", "code"]
    assert panel.lines[0].points == [(0, 5.0), (130, 3.0), (100, 3.0), (107, 3.0)]
    assert panel.lines[1].points == [(130, 2.5), (100, 2.5), (107, 2.5)]
    # A model that nobody of the ladder made, and manifests that go round in a circle.
    assert pictures.tokens_before(stage("31-dpo", "c9", parents=started("c8")), stages) == 0
    circle = stage("20-pretrain-2k", "c1", parents=started("c1"), tokens=5)
    assert pictures.tokens_before(circle, [circle]) == 0


def test_loss_of_the_phases_goes_on_by_tokens_and_of_later_stages_by_steps() -> None:
    log = [{"step": 1.0, "loss": 6.0}, {"step": 2.0, "loss": 5.0}, {"step": 2.0, "eval": 1}]
    keys = RECIPES["21-pretrain-4k"].keys
    each = keys.global_batch_size * keys.context_length
    stages = [
        stage("20-pretrain-2k", "c1", tokens=1000, log=log),
        stage("21-pretrain-4k", "c2", parents=started("c1"), tokens=9, log=log),
        stage("30-sft", "c3", log=log),
        stage("31-dpo", "c4", log=log),  # its curves have no loss
    ]
    phases, sft = pictures.losses(stages)
    assert isinstance(phases, Curves)
    assert isinstance(sft, Curves)
    assert phases.lines[1].points == [(1000 + each, 6.0), (1000 + 2 * each, 5.0)]
    assert sft.title == "30-sft: training loss (nats a token)"
    assert sft.lines[0].points == [(1.0, 6.0), (2.0, 5.0)]


def test_scores_have_intervals_and_what_was_before() -> None:
    right = {"accuracy": 0.75, "accuracy_stderr": 0.25}
    stages = [
        stage("30-sft", "c1", metrics=right, items={"accuracy": [1.0, 1.0, 1.0, 0.0]}),
        stage("31-dpo", "c2", "30-sft", metrics={"accuracy": 0.95, "accuracy_stderr": 0.05}),
        stage("41-cot-sft", "c3", "31-dpo", metrics={"accuracy": 0.5}),  # no error, no interval
        stage("40-distill", "c4", metrics={"accepted": 0.8}),
    ]
    (panel,) = pictures.problems(stages)
    assert isinstance(panel, Dots)
    sft, dpo = panel.rows
    # Wilson (1927) of 3 in 4, by the formula; then 1.96 errors, within [0, 1].
    assert (sft.low, sft.high) == (pytest.approx(0.3006, abs=1e-4), pytest.approx(0.9544, abs=1e-4))
    assert (dpo.label, dpo.before, dpo.high) == ("31-dpo: accuracy", 0.75, 1.0)
    assert dpo.low == pytest.approx(0.95 - 1.96 * 0.05, abs=1e-4)
    assert "31-dpo: accuracy: 0.750 → 0.950 (95 %: 0.852 to 1.000)" in panel.words()
    (table,) = tables.metrics(stages)
    assert ["40-distill", "accepted", "0.8000", "–"] in table.rows
    assert ["31-dpo", "accuracy", "0.9500", "0.8520 to 1.0000"] in table.rows


def test_a_task_that_failed_is_in_the_table_and_not_in_the_picture() -> None:
    asked = {"model": "m", "metric": "acc", "shots": 0, "items": 40}
    good = {**asked, "task": "one", "value": 0.5, "low": 0.4, "high": 0.6, "failed": None}
    wide = {**asked, "task": "two", "value": 12.5, "low": None, "high": None, "failed": None}
    bad = {**asked, "task": "three", "value": None, "low": None, "high": None, "failed": HOSTILE}
    of = stage("50-evaluate", "c1", scores=[good, wide, bad], curve=[])
    (panel,) = pictures.tasks([of])
    assert isinstance(panel, Dots)
    assert [row.label for row in panel.rows] == ["m: one", "m: two"]
    (table,) = tables.scores([of])
    assert [row[4] for row in table.rows] == ["0.5000", "12.5000", f"failed: {HOSTILE}"]
    assert [row[5] for row in table.rows] == ["0.4000 to 0.6000", "–", "–"]
    assert list(pictures.tasks([stage("50-evaluate", "c1", scores=[bad])])) == []


def test_revisions_go_by_tokens_where_every_manifest_says_them() -> None:
    row = {"task": "t", "metric": "acc", "value": 0.5, "low": 0.4, "high": 0.6, "repo": "r"}
    known = [{**row, "revision": "a", "tokens": 10}, {**row, "revision": "b", "tokens": 30}]
    other = [{**row, "task": "u", "revision": name, "tokens": None} for name in "ab"]
    stages = [stage("50-evaluate", "c1", scores=[], curve=known + other)]
    by_tokens, by_revision = pictures.revisions(stages)
    assert isinstance(by_tokens, Curves)
    assert isinstance(by_revision, Curves)
    assert (by_tokens.x, by_tokens.lines[0].points) == ("tokens", [(10, 0.5), (30, 0.5)])
    assert by_tokens.lines[0].band == [(0.4, 0.6), (0.4, 0.6)]
    assert (by_revision.x, by_revision.lines[0].points) == ("revision", [(0, 0.5), (1, 0.5)])


def test_what_was_removed_has_its_share_of_what_was_read() -> None:
    counts = {"code/kept": 6, "code/short": 3, "code/duplicate": 1, "web/kept": 0}
    data = stage("00-data", "c1", counts={"code/train/tokens": 70, "code/train/bytes": 300})
    corpus = Output("local/corpus", "dataset", "c2", manifest(counts=counts))
    data = dataclasses.replace(data, outputs={**data.outputs, "hub_corpus_id": corpus})
    distill = stage("40-distill", "c3", counts={"kept": 3, "problems": 4, "rejected: late": 1})
    found = {table.title: table for table in tables.data([data, distill])}
    assert found["Text to train on (00-data)"].rows == [["code", "–", "300", "70", "–", "–"]]
    corpus_panel, distilled = pictures.removed([data, distill])
    assert isinstance(corpus_panel, Bars)
    assert corpus_panel.rows == [("code", {"kept": 60.0, "short": 30.0, "duplicate": 10.0})]
    assert isinstance(distilled, Bars)
    assert distilled.rows == [("answers", {"kept": 75.0, "rejected": 25.0})]
    removed = found["Kept and removed (00-data)"].rows
    assert ["code", "short", "3", "30.0%"] in removed
    assert ["web", "kept", "0", "–"] in removed
    rejected = ["answers", "rejected: late", "1", "25.0%"]
    assert rejected in found["Kept and removed (40-distill)"].rows


def test_cost_is_summed_and_a_plan_is_beside_what_was_counted() -> None:
    keys = RECIPES["20-pretrain-2k"].keys
    steps, each = 10, keys.global_batch_size * keys.context_length
    facts = {"trainer": {"max_steps": steps}, "tokens": steps * each}
    stages = [
        stage("00-data", "c0", tokens=5),  # not trained on: neither counted nor planned
        stage("20-pretrain-2k", "c1", seconds=4.0, energy_kwh=0.5, price=2.0, **facts),
        stage("21-pretrain-4k", "c2", trainer={"max_steps": steps}),  # no tokens in its manifest
        Stage(RECIPES["10-init"], "to do", {}),  # whose recipe says how large the model is
        Stage(RECIPES["42-grpo"], "to do", {}),
    ]
    (cost,) = tables.cost(stages)
    speed = f"{round(steps * each / 4):,}"
    row = ["20-pretrain-2k", "4", f"{steps * each:,}", speed, "0.5", "2", "2 CPUs (x86_64)"]
    assert cost.rows[1] == row
    assert cost.rows[-1] == ["all", "8", f"{steps * each:,}", "–", "0.5", "2", ""]
    (one,) = planned.planned(stages)
    assert (one.stage, one.planned, one.counted) == ("20-pretrain-2k", steps * each, steps * each)
    assert one.flops
    assert one.rate == one.flops / 4
    half = dataclasses.replace(one, counted=one.counted // 2)  # rows were shorter than planned
    assert half.rate == one.flops / 8
    assert dataclasses.replace(one, flops=None).rate is None
    (table,) = tables.plan([one])
    assert table.rows[0][:4] == ["20-pretrain-2k", *[f"{steps * each:,}"] * 2, "100%"]


def test_lineage_names_inputs_from_elsewhere_and_the_models_own_line() -> None:
    told = {"key": "dataset_name", "repo": "some/text", "revision": "main", "commit": "e" * 40}
    stages = [
        stage("20-pretrain-2k", "c1", parents=[told, *started("c0")]),
        stage("21-pretrain-4k", "c2", parents=started("c1")),
        Stage(RECIPES["22-pretrain-enhance"], "to do", {}),
    ]
    found = lineage.of(stages)
    assert found is not None
    assert [(node.label, node.made) for node in found.nodes] == [
        ("some/text@eeeeeeee", False),
        ("local/moxin-nano-base@c0", False),
        ("20-pretrain-2k", True),
        ("21-pretrain-4k", True),
    ]
    assert found.edges == [(0, 2, False), (1, 2, True), (2, 3, True)]
    assert "21-pretrain-4k from 20-pretrain-2k." in found.words()
    assert lineage.of([Stage(RECIPES["30-sft"], "to do", {})]) is None


def test_numbers_stand_at_the_right_and_commits_do_not() -> None:
    numbers = ("–", "7", "1,024", "0.25", "-3.5", "4.55e+10", "88.3%", "0.4000 to 0.6000")
    others = ("7" * 39 + "a", "5e81537483ddf963", "00-data", "failed: no", "", "2 CPUs (x86_64)")
    assert [text for text in numbers + others if tables.is_number(text)] == list(numbers)


PANELS = [
    Curves(HOSTILE, "step", HOSTILE, [Line(HOSTILE, [(1, 2.0), (2, 1.0)]), Line("b", [(1, 3.0)])]),
    Curves("noisy", "step", "y", [Line("noisy", [(at, float(at % 7)) for at in range(60)])]),
    Curves("band", "tokens", "y", [Line("a", [(0, 0.1), (5e9, 0.3)], [(0, 0.2), (0.2, 0.4)])]),
    Dots(HOSTILE, "score", [Score(HOSTILE, 0.5, 0.4, 0.6, 0.1), Score("ppl", 12.5)]),
    Bars(HOSTILE, "tokens", [("20", {HOSTILE: 3e6, "web": 2.0}), ("21", {"web": 1.0})]),
    Bars("one part", "seconds", [("00-data", {"seconds": 0.0})]),
]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: type(panel).__name__)
def test_a_picture_is_xml_that_the_page_colours_whatever_its_labels_say(
    panel: Curves | Dots | Bars,
) -> None:
    drawn = figure.svg(panel, "p7")
    assert drawn == figure.svg(panel, "p7")
    parsed = ElementTree.fromstring(drawn)  # noqa: S314 (it is ours)
    assert parsed.find("title") is not None
    assert parsed.findtext("title") == panel.title
    assert parsed.findtext("desc") == panel.words()
    assert re.findall(r"#[0-9a-f]{6}", drawn) == []  # a colour that would not turn dark
    assert "var(--ink)" in drawn or "var(--quiet)" in drawn
    ids = re.findall(r'\bid="([^"]+)"', drawn)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("p7-") for name in ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn)) <= set(ids)
    if HOSTILE in panel.words():
        texts = [text.text for text in parsed.iter("text")]
        assert HOSTILE in texts  # as it is: neither as markup nor as mathematics
    assert "://" not in drawn
    assert "<script" not in drawn


def test_a_picture_as_png_has_every_panel_and_none_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert figure.png([], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()
    one, three = tmp_path / "sub" / "one.png", tmp_path / "three.png"
    assert figure.png(PANELS[:1], one) == one
    assert figure.png(PANELS[1:4], three) == three
    assert one.read_bytes()[:4] == three.read_bytes()[:4] == b"\x89PNG"
    again = tmp_path / "again.png"
    figure.png(PANELS[1:4], again)
    assert again.read_bytes() == three.read_bytes()


def test_a_picture_of_the_same_panels_is_not_drawn_again(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    figure.png(PANELS[:1], file)
    drawn = file.stat().st_mtime_ns
    figure.png(PANELS[:1], file)
    assert file.stat().st_mtime_ns == drawn
    figure.png(PANELS[1:2], file)
    assert file.stat().st_mtime_ns > drawn
    assert [one.name for one in tmp_path.iterdir()] == ["picture.png"]


def test_manifests_without_scores_make_a_page_that_says_what_is_missing() -> None:
    """As older ones and those of other ladders are: no metrics, log, counts, licences, items."""
    stages = [stage(name, f"c{number}") for number, name in enumerate(RECIPES)]
    assert pictures.head(stages) == []
    page = report.page(HOSTILE, stages)
    assert "No stage has a held-out score yet." in page
    assert "No model has been evaluated." in page
    assert "No stage has both planned and counted tokens." in page
    assert "<title>a &lt;script&gt;" in page
    assert "<script" not in page


def test_a_note_names_keys_as_code() -> None:
    facts = {"trainer": {"num_train_epochs": 1, "max_length": 64, "max_steps": -1}, "tokens": 10}
    page = report.page("ladder", [stage("00-data", "c0"), stage("30-sft", "c1", **facts)])
    assert "(<code>max_length</code> 64)" in page

"""Evaluation as users launch it, against plain lm-eval, kills, bad tasks and longer lists."""

import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Workplace
from tests.scores.conftest import evaluate, items, push_code, table, units
from tests.test_ladder import python

ARC = {"task": "arc_easy", "model": "someone/plain"}
GSM = {"task": "gsm8k", "model": "someone/plain", "num_fewshot": 1}
GSM |= {"generation": {"max_tokens": 24}}

PLAIN = """
import json
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
manager, found = TaskManager(), []
for repo, tasks, more in json.loads({asked!r}):
    lm = HFLM(pretrained=repo, dtype="float32", batch_size=3, device="cpu")
    made = lm_eval.simple_evaluate(lm, tasks=tasks, task_manager=manager, **more)
    found.append([made["results"], made["samples"]])
print("\\n" + json.dumps(found, default=str))
"""


def plain_lm_eval(place: Workplace, asked: list[Any]) -> list[Any]:
    said = python(place, PLAIN.format(asked=json.dumps(asked)))
    found: list[Any] = json.loads(said.splitlines()[-1])
    return found


def test_scores_and_items_are_those_of_lm_eval(bench: Workplace, tmp_path: Path) -> None:
    chat = {"model": "someone/chatty", "chat": True}
    python(
        bench,
        push_code(tmp_path)
        + """
save_tiny_model(folder / "chatty")
api.create_repo("someone/chatty")
api.upload_folder(repo_id="someone/chatty", folder_path=folder / "chatty")
""",
    )
    asked = [ARC, GSM, {**ARC, **chat, "num_fewshot": 2}, {**GSM, **chat, "system": "be brief"}]
    code, said, folder = evaluate(bench, asked)
    assert code == 0, said[-3000:]
    greedy = {"gen_kwargs": "max_gen_toks=24", "num_fewshot": 1}
    template = {"apply_chat_template": True}
    plain = plain_lm_eval(
        bench,
        [
            ["someone/plain", ["arc_easy"], {}],
            ["someone/plain", ["gsm8k"], greedy],
            ["someone/chatty", ["arc_easy"], {"num_fewshot": 2, **template}],
            ["someone/chatty", ["gsm8k"], greedy | template | {"system_instruction": "be brief"}],
        ],
    )
    done = units(folder)
    assert [unit["settings"]["shots"] for unit in done] == [0, 1, 2, 1]
    for unit, (results, samples) in zip(done, plain, strict=True):
        theirs = {(s["doc_id"], s["filter"]): s for s in samples[unit["task"]]}
        ours = items(folder, unit)
        assert len(ours) == len(theirs)
        for row in ours:
            same = theirs[row["doc_id"], row["filter"]]
            assert (row["digest"], row["prompt_hash"]) == (same["doc_hash"], same["prompt_hash"])
            assert row["scores"] == {name: float(same[name]) for name in row["scores"]}
            if row["loglikelihoods"]:
                likely = [float(resps[0][0]) for resps in same["resps"]]
                assert row["loglikelihoods"] == pytest.approx(likely, abs=2e-4)
            else:
                assert row["raw"].startswith(same["resps"][0][0])
        for score in unit["scores"]:
            name = f"{score['metric']},{score['filter']}"
            assert score["value"] == results[unit["task"]][name]
            error = results[unit["task"]][name.replace(",", "_stderr,")]
            assert score["stderr"] == pytest.approx(error, abs=1e-12)


def plainly(folder: Path) -> list[Any]:
    """All items, without the unit that they are filed under."""
    return [
        {name: value for name, value in row.items() if name not in ("unit", "row_digest")}
        for unit in units(folder)
        for row in items(folder, unit)
    ]


SAMPLED = GSM | {"samples": 2, "generation": {"max_tokens": 12, "temperature": 0.8, "top_p": 0.9}}


def test_items_depend_on_no_batch_and_no_number_of_processes(bench: Workplace) -> None:
    found = []
    for batch in (1, 7, 64):
        found.append(scored_anew(bench, "--eval_batch_size", str(batch)))
    found.append(scored_anew(bench, "--accelerate_config", "ddp", config="ddp"))
    assert found[0]
    sampled = [
        row for row in found[0] if row["task"] == "gsm8k" and row["filter"] == "strict-match"
    ]
    texts = {(row["doc_id"], row["sample"]): row["raw"] for row in sampled}
    assert len(texts) == 24
    assert any(texts[doc, 0] != texts[doc, 1] for doc, _ in texts)  # two samples are two
    for other in found[1:]:
        assert other == found[0]


def scored_anew(place: Workplace, *words: str, config: str = "cpu", samples: int = 2) -> list[Any]:
    folder = place.home / "anew" / str(random.random())
    asked = [ARC, {**SAMPLED, "samples": samples}]
    recipe = {"stage": "evaluate", "models": ["someone/plain"], "evaluations": asked}
    recipe |= {"hub_scores_id": "scores", "dtype": "float32"}
    (place.ladder / "50-evaluate.yaml").write_text(yaml.safe_dump(recipe))
    words = ("--output_dir", str(folder), "--push_to_hub", "false", *words)
    done = place.launch("evaluate", "50-evaluate", *words, config=config)
    assert done.returncode == 0, done.stderr[-3000:]
    return plainly(folder)


def test_a_longer_list_costs_what_is_new(bench: Workplace) -> None:
    code, said, _ = evaluate(bench, [GSM, ARC], hub_scores_id="longer")
    assert code == 0, said
    code, said, folder = evaluate(
        bench, [ARC, {**ARC, "num_fewshot": 1}, GSM], hub_scores_id="longer"
    )
    assert code == 0, said
    assert said.count(" problems, ") == 1
    assert [unit["settings"]["shots"] for unit in units(folder)] == [0, 1, 1]


def test_units_of_the_hub_are_not_scored_again(bench: Workplace) -> None:
    code, said, folder = evaluate(bench, [ARC, GSM], hub_scores_id="kept")
    assert code == 0, said
    before = plainly(folder)
    for path in sorted(folder.glob("**/*"), reverse=True):  # as on another machine
        path.rmdir() if path.is_dir() else path.unlink()
    code, said, folder = evaluate(bench, [ARC, GSM], hub_scores_id="kept", limit=None, seed=42)
    assert (code, said.count(" problems, ")) == (0, 0), said
    assert plainly(folder) == before


BAD = [
    ({"task": "arc_challenge"}, "ARC-Challenge"),  # a config that the repository does not have
    ({"task": "piqa"}, "is not on this Hub"),
    ({"task": "arc_eazy"}, "did you mean `arc_easy`?"),
    ({"task": "minerva_math_algebra"}, "antlr"),
    ({"task": "humaneval"}, "outside the sandbox"),
    ({"task": "arc_easy", "chat": True}, "the model has no chat template"),
    ({"task": "gsm8k", "generation": {"max_tokens": 4096}}, "`generation: {max_tokens: …}`"),
]


def test_a_bad_task_is_named_by_check_and_stops_no_other(bench: Workplace) -> None:
    lines = [{**bad, "model": "someone/plain"} for bad, _ in BAD]
    code, said, _ = evaluate(bench, [*lines, ARC], hub_scores_id="bad")
    assert code == 1
    assert f"error: {bench.ladder}/50-evaluate.yaml: {len(BAD)} tasks have no score" in said
    assert "Traceback" not in said
    rows = table(bench, "bad")
    failed = [row for row in rows if row["failed"]]
    assert [row["task"] for row in failed] == [bad["task"] for bad, _ in BAD]
    for row, (_, reason) in zip(failed, BAD, strict=True):
        assert reason in row["failed"]
    assert {row["metric"] for row in rows if row["task"] == "arc_easy"} >= {"acc", "acc_norm"}
    assert "done-" not in python(bench, REFS.format(repo="local/bad"))

    checked = bench.moxin("check", str(bench.ladder), "--hub", "local")
    assert checked.returncode == 1
    for bad, reason in BAD:
        if bad["task"] != "piqa":  # a dataset that may come is no error of the recipe
            named = [line for line in checked.stderr.splitlines() if bad["task"] in line]
            assert any(reason in line for line in named), (bad, checked.stderr)
    assert "unresolved  evaluations: baber/piqa@main" in checked.stderr

    again, said, _ = evaluate(bench, [ARC, *lines[2:3]], hub_scores_id="bad")
    assert (again, said.count(" problems, ")) == (1, 0)
    new = {**GSM, "num_fewshot": 3}  # which no other test of this place asks
    mended, said, _ = evaluate(bench, [ARC, new], hub_scores_id="bad")
    assert (mended, said.count(" problems, ")) == (0, 1), said


REFS = """
from huggingface_hub import HfApi
print([ref.name for ref in HfApi().list_repo_refs({repo!r}, repo_type="dataset").tags])
"""


def test_a_replaced_dataset_is_another_result(bench: Workplace, tmp_path: Path) -> None:
    (bench.ladder / "50-evaluate.yaml").unlink(missing_ok=True)
    code, said, folder = evaluate(bench, [ARC], hub_scores_id="flipped")
    assert code == 0, said
    (before,) = units(folder)
    targets = [row["target"] for row in items(folder, before)]
    again = bench.run("--only", "50-evaluate")
    assert "done already" in again.stderr
    flipped = 'put("allenai/ai2_arc", "ARC-Easy", train=arc(9, 100), validation=arc(5, 50), '
    python(bench, push_code(tmp_path) + flipped + "test=arc(30, 0, 1))")
    again = bench.run("--only", "50-evaluate")
    assert again.returncode == 0, again.stderr[-2000:]
    (after,) = units(folder)
    commits = [unit["settings"]["dataset"]["commit"] for unit in (before, after)]
    assert commits[0] != commits[1]
    assert targets != [row["target"] for row in items(folder, after)]
    manifest = json.loads((folder / "hub_scores_id" / "moxin.json").read_text())
    assert commits[1] in [parent["commit"] for parent in manifest["parents"]]


def test_a_tag_is_its_tasks_and_a_file_is_a_task(bench: Workplace, tmp_path: Path) -> None:
    own = {"task": "mine", "dataset_path": "json", "output_type": "multiple_choice"}
    data = tmp_path / "data.jsonl"
    data.write_text('{"q": "12", "a": 0}\n{"q": "13", "a": 1}\n')
    own |= {"dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
    own |= {"doc_to_text": "{{q}}", "doc_to_choice": ["12", "13"], "doc_to_target": "{{a}}"}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(own))
    mine = {"task": str(file), "model": "someone/plain"}
    code, said, folder = evaluate(bench, [mine], hub_scores_id="mine")
    assert code == 0, said
    (unit,) = units(folder)
    assert (unit["task"], unit["problems"]) == ("mine", 2)
    data.write_text('{"q": "12", "a": 1}\n{"q": "13", "a": 0}\n')
    code, said, folder = evaluate(bench, [mine], hub_scores_id="mine")
    (other,) = units(folder)
    assert other["key"] != unit["key"]
    tag = {"task": "ai2_arc", "model": "someone/plain"}  # one of its two is not on this Hub
    code, said, folder = evaluate(bench, [tag], hub_scores_id="tagged")
    assert code == 1
    rows = {row["task"]: row["failed"] for row in table(bench, "tagged")}
    assert rows.pop("arc_easy") is None
    assert list(rows) == ["arc_challenge"]


def test_any_model_without_a_ladder(bench: Workplace) -> None:
    def moxin(*words: str) -> subprocess.CompletedProcess[str]:
        options = ("--dtype", "float32", "--hub", "local")
        return bench.moxin("evaluate", "someone/plain", *options, *words)

    done = moxin("--tasks", "arc_easy")
    assert done.returncode == 0, done.stderr
    assert "arc_easy acc 0." in done.stdout
    wrong = moxin("--tasks", "arc_eazy,gsm8k")
    assert wrong.returncode == 1
    assert "did you mean `arc_easy`?" in wrong.stderr
    done = moxin("--tasks", "arc_easy", "--num-fewshot", "1")
    assert (done.returncode, done.stderr.count(" problems, ")) == (0, 1)  # the new one
    wrong = moxin("--tasks", "gsm8k", "--limit", "-1")
    assert wrong.returncode == 1
    assert "`limit` must be at least 1" in wrong.stderr
    (folder,) = (bench.home / "evaluations").iterdir()
    rows = table(bench, f"{folder.name}-scores")
    assert {(row["task"], row["shots"]) for row in rows} == {("arc_easy", 0), ("arc_easy", 1)}


def test_lines_that_differ_in_anything_are_told_apart(bench: Workplace) -> None:
    short = {**GSM, "generation": {"max_tokens": 3}}
    code, said, folder = evaluate(bench, [GSM, short, ARC, {**ARC, "num_fewshot": 1}, ARC])
    assert code == 0, said
    manifest = json.loads((folder / "hub_scores_id" / "moxin.json").read_text())
    done = units(folder)
    assert len(done) == 4  # the same line twice is one unit
    first = [unit["scores"][0]["value"] for unit in done]
    shown = [row["value"] for row in manifest["scores"]]
    assert shown == [*first, first[2]]
    values = {unit["key"][:12]: unit["scores"][0]["value"] for unit in done}
    assert sum(name.endswith(tuple(f"@{key}" for key in values)) for name in manifest["metrics"])


def killed(place: Workplace, most: int) -> int:
    """Scores in spite of up to `most` kills, each a while after a group came; how many there were.

    Batches of one, and two samples a kill: so there is work left for all of them.
    """
    folder = place.home / "killed" / str(most)
    asked = [ARC, {**SAMPLED, "samples": 2 * most}]
    recipe = {"stage": "evaluate", "models": ["someone/plain"], "evaluations": asked}
    recipe |= {"hub_scores_id": "killed", "dtype": "float32", "eval_batch_size": 1}
    (place.ladder / "50-evaluate.yaml").write_text(yaml.safe_dump(recipe))
    words = ["moxin_recipes.stages.evaluate", "--config", str(place.ladder / "50-evaluate.yaml")]
    words += ["--output_dir", str(folder), "--push_to_hub", "false"]
    pauses = random.Random(most)
    for kills in range(most + 1):
        assert place.warm
        process = place.warm.begin(words, place.environment(MOXIN_HUB="local"))
        before = len(list(folder.glob("units/*/*/*.json")))
        while process.running() and kills < most:
            if len(list(folder.glob("units/*/*/*.json"))) > before:
                time.sleep(pauses.random() * 0.1)
                process.kill()
                break
        else:
            assert process.wait() == 0, process.errors.read_text()[-2000:]
            assert plainly(folder) == scored_anew(place, samples=2 * most)
            return kills
    raise AssertionError("it never ended")


def test_a_kill_loses_a_group_at_most(bench: Workplace) -> None:
    assert killed(bench, 3) == 3


@pytest.mark.soak
def test_ten_kills_lose_a_group_each_at_most(bench: Workplace) -> None:
    assert killed(bench, 10) == 10

"""What a Job may come to: refused, cut off, failed, too late; and what is refused before."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT
from tests.jobs.jobs_api import JobsHub
from tests.tiny import tiny_tokenizer

from moxin_recipes import cli
from moxin_recipes.hub import session
from moxin_recipes.jobs import commands, cost, flavor
from moxin_recipes.ladder.launches import StageFailed
from moxin_recipes.recipe.strict import RecipeError

CONFIGS = ROOT / "accelerate_configs"
INIT = {
    "stage": "init",
    "tokenizer_name_or_path": "jobs-tokenizer",
    "hub_model_id": "jobs-base",
    **dict.fromkeys(("hidden_size", "intermediate_size"), 32),
    "max_position_embeddings": 256,
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1),
    "sliding_window": 32,
}


@pytest.fixture
def ladder(hub: JobsHub, tmp_path: Path) -> Path:
    """One stage, whose tokenizer is on the Hub."""
    api = session.api()
    if not api.repo_exists(f"{session.namespace()}/jobs-tokenizer"):
        tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
        api.create_repo("jobs-tokenizer")
        api.upload_folder(
            repo_id=f"{session.namespace()}/jobs-tokenizer", folder_path=tmp_path / "tokenizer"
        )
    assert hub.jobs == []
    return written(tmp_path / "mini", {"10-init": INIT})


def written(folder: Path, recipes: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    for name, values in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    shutil.copytree(CONFIGS, folder.parent.parent / "accelerate_configs", dirs_exist_ok=True)
    return folder


def run(folder: Path, *words: str, on: str = "hf-jobs:cpu-basic") -> None:
    options = cli.parser().parse_args(["run", str(folder), "--on", on, *words])
    assert commands.wanted(options)
    commands.run(options)


def test_a_log_that_is_cut_off_goes_on_where_it_was(
    hub: JobsHub, ladder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Job that failed ends the command with its state, its log and the way on."""
    lines = [f"line {number}" for number in range(5)]
    hub.script = (lines, "ERROR", "Job failed with exit code: 3.")
    hub.cuts = [2]
    with pytest.raises(StageFailed) as caught:
        run(ladder, "--yes")
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("line ")] == lines
    assert hub.asked["GET jobs logs"] == 2
    (job,) = hub.jobs
    assert str(caught.value) == (
        f"10-init: Job {job.id} ended as ERROR (Job failed with exit code: 3.); its log: "
        f"{hub.endpoint}/jobs/local/{job.id}; what is on the Hub stays, and the same command goes "
        "on from there"
    )
    with pytest.raises(StageFailed):  # it is started anew
        run(ladder, "--yes")
    assert len(hub.jobs) == 2


def test_a_job_out_of_time_names_the_option(hub: JobsHub, ladder: Path) -> None:
    hub.script = ([], "ERROR", "Job timeout")
    with pytest.raises(StageFailed, match=r"ERROR \(Job timeout\); .*; --timeout gives it more"):
        run(ladder, "--yes", "--timeout", "90m")
    assert hub.jobs[0].spec["timeoutSeconds"] == 5400
    with pytest.raises(StageFailed):
        run(ladder, "--yes")
    assert hub.jobs[1].spec["timeoutSeconds"] == 6 * 3600


def test_a_job_that_left_nothing_is_no_success(hub: JobsHub, ladder: Path) -> None:
    hub.script = (["done"], "COMPLETED", None)
    with pytest.raises(StageFailed, match="COMPLETED, but the Hub has no result of these values"):
        run(ladder, "--yes")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (402, "Pre-paid credit balance is insufficient - add more credits to your account"),
        (403, "Jobs are available to PRO users and Team or Enterprise organizations"),
        (401, "Invalid credentials"),
        (400, "quota exceeded"),
    ],
)
def test_a_refused_start_is_one_line(hub: JobsHub, ladder: Path, status: int, reason: str) -> None:
    hub.refused = (status, reason)
    with pytest.raises(session.HubError) as caught:
        run(ladder, "--yes")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"10-init: its Job: {hub.endpoint} refused: ")
    assert (reason in str(caught.value)) or status == 401
    assert hub.jobs == []


def test_nothing_starts_without_a_yes(
    hub: JobsHub, ladder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RecipeError, match=r"would start 1 Job; .* give --yes"):
        run(ladder)
    assert "at most $" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer in ("", "n", "yep"):
        monkeypatch.setattr("builtins.input", lambda _, said=answer: said)
        with pytest.raises(RecipeError, match="nothing was started"):
            run(ladder)
    assert hub.jobs == []
    monkeypatch.setattr("builtins.input", lambda _: "Yes")
    with pytest.raises(StageFailed):
        run(ladder)
    assert len(hub.jobs) == 1


def test_a_job_of_other_inputs_is_not_the_stages(
    hub: JobsHub, ladder: Path, tmp_path: Path
) -> None:
    """What is made of a stage that will run again has a price, even where it runs as it was."""
    mean = {"stage": "init", "method": "average", "models": ["jobs-base@init"] * 2}
    (ladder / "20-mean.yaml").write_text(yaml.safe_dump(mean | {"hub_model_id": "jobs-mean"}))
    api = session.api()
    (tmp_path / "config.json").write_text("{}")
    api.create_repo("jobs-base")
    api.upload_file(
        repo_id=f"{session.namespace()}/jobs-base",
        path_or_fileobj=tmp_path / "config.json",
        path_in_repo="config.json",
    )
    api.create_tag(f"{session.namespace()}/jobs-base", tag="init")
    try:
        hub.script = ([], "ERROR", "Job failed")
        with pytest.raises(StageFailed):
            run(ladder, "--yes", "--only", "20-mean")
        hub.jobs[0].stage = "RUNNING"
        with pytest.raises(RecipeError, match="would start 2 Jobs, one after another"):
            run(ladder)
        with pytest.raises(StageFailed):  # while what it reads stays as it is, it is followed
            run(ladder, "--only", "20-mean")
    finally:
        api.delete_repo(f"{session.namespace()}/jobs-base")
    assert len(hub.jobs) == 1


def test_a_job_whose_inputs_change_is_left_alone(
    hub: JobsHub, ladder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started that was not among the costs, be it days since the question."""
    (ladder / "20-other.yaml").write_text(yaml.safe_dump({**INIT, "hub_model_id": "jobs-other"}))
    hub.script = ([], "ERROR", "Job failed")
    with pytest.raises(StageFailed):
        run(ladder, "--yes", "--only", "10-init")
    hub.jobs[0].stage = "RUNNING"

    def agree(jobs: int) -> None:
        assert jobs == 1
        session.api().upload_file(
            repo_id=f"{session.namespace()}/jobs-tokenizer",
            path_or_fileobj=b"{}",
            path_in_repo="chat_template_of_today.json",
        )

    monkeypatch.setattr(cost, "agree", agree)
    with pytest.raises(
        StageFailed, match="10-init: what it is made of has changed since the costs were shown"
    ):
        run(ladder)
    assert len(hub.jobs) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "a100-large"], "`--on` is hf-jobs:FLAVOR, such as hf-jobs:a10g-large, not a100"),
        (["--on", "hf-jobs:a100x2"], "there is no hf-jobs:a100x2; did you mean `a100x8`?"),
        (["--on", "hf-jobs:cpu-basic", "--timeout", "soon"], "a time such as 90m, 8h or 2d, not"),
        (["--on", "hf-jobs:cpu-basic", "--timeout", "0h"], "a time such as 90m, 8h or 2d, not 0h"),
        (["--on", "hf-jobs:cpu-basic", "--secret", "MOXIN_NO_SUCH"], "no such variable here"),
        (["--timeout", "8h"], "`--timeout` is of Jobs; give --on hf-jobs:FLAVOR with it"),
        (["--secret", "A"], "`--secret` is of Jobs"),
        (["--yes"], "`--yes` is of Jobs"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_options_are_refused_by_name(words: list[str], message: str, tmp_path: Path) -> None:
    options = cli.parser().parse_args(["run", str(tmp_path), *words])
    with pytest.raises(RecipeError) as caught:  # noqa: PT012 (one of the two refuses)
        commands.wanted(options)
        commands.run(options)
    assert message in str(caught.value)


def test_the_pages_commands_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    page = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    lines = re.findall(r"^moxin (.*?)(?:  +#.*)?$", page, re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        options = cli.parser().parse_args(line.split())
        assert commands.wanted(options)
        names = [path.stem for path in (ROOT / options.ladder).glob("*.yaml")]
        assert {*options.only, *([options.start] if options.start else [])} <= set(names)


def test_the_embedded_hub_has_no_jobs(tmp_path: Path) -> None:
    options = cli.parser().parse_args(["run", str(tmp_path), "--on", "hf-jobs:cpu-basic"])
    with pytest.raises(RecipeError, match=r"cannot reach the embedded Hub .* give --hub hf"):
        commands.wanted(options)


def test_a_hub_without_jobs_says_so() -> None:
    session.start()
    with pytest.raises(session.HubError, match="`--on`: the machines of Hugging Face Jobs: "):
        flavor.find("cpu-basic")


def test_a_file_of_this_machine_is_refused(hub: JobsHub, ladder: Path, tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text(
        json.dumps(
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        )
    )
    sft = yaml.safe_load((ROOT / "recipes" / "moxin-nano" / "30-sft.yaml").read_text())
    sft = {key: value for key, value in sft.items() if not key.startswith(("problems", "eval"))}
    sft |= {"dataset_name": str(tmp_path / "chats.jsonl"), "model_name_or_path": "jobs-base@init"}
    (ladder / "30-sft.yaml").write_text(yaml.safe_dump(sft))
    with pytest.raises(
        RecipeError, match=r"30-sft\.yaml: `dataset_name`: a Job has no .*moxin hub add"
    ):
        run(ladder, "--yes")
    assert hub.jobs == []

"""What a Job may come to: refused, cut off, failed, too late; and what is refused before."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from tests.conftest import ROOT
from tests.jobs.jobs_api import JobsHub, jobs_hub
from tests.tiny import tiny_tokenizer

from moxin_recipes import cli, environment
from moxin_recipes.hub import code as hub_code
from moxin_recipes.hub import session
from moxin_recipes.jobs import code, commands, cost, flavor
from moxin_recipes.jobs.code import Code
from moxin_recipes.ladder.launches import StageFailed
from moxin_recipes.recipe.launcher import Launcher, content_of
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError

HERE = Code("https://localhost/code", "0" * 40, "recipes/mini", "")
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
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsHub]:
    """Jobs before the Hub of the tests' home, for this process."""
    session.start()
    who = environment.local_hub()
    with jobs_hub(who.endpoint, tmp_path) as opened:
        api = HfApi(endpoint=opened.endpoint)
        monkeypatch.setattr(session, "api", lambda: api)
        monkeypatch.setenv("HF_ENDPOINT", opened.endpoint)
        monkeypatch.setenv("HF_TOKEN", who.token)
        monkeypatch.setenv("MOXIN_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(code, "of_ladder", lambda _: HERE)
        yield opened


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


@pytest.mark.usefixtures("hub")
def test_a_machine_and_a_launcher_have_to_fit() -> None:
    eight, one, none = (flavor.find(name) for name in ("a100x8", "a100-large", "cpu-basic"))
    assert (eight.gpus, eight.price, one.gpu, none.gpus) == (8, 18.0, eight.gpu, 0)
    assert eight.gpu is not None
    assert flavor.find("t4-small").gpu is None  # no figures of it: no hours
    recipe = read(ROOT / "recipes" / "moxin-7b" / "31-dpo.yaml")  # fsdp.yaml
    for machine, missing in (
        (eight, None),
        (one, "fsdp.yaml is for several GPUs"),
        (none, "8 GPUs"),
    ):
        file = machine.file_of(recipe, None)
        said = machine.missing(file, Launcher.of_file(file))
        assert (said is None) if missing is None else missing in str(said)


@pytest.mark.usefixtures("hub")
def test_a_stage_uses_all_gpus_and_stays_the_same_result() -> None:
    machine = flavor.find("a100x8")
    recipe = read(ROOT / "recipes" / "moxin-7b" / "30-sft.yaml")
    for given, processes in (("fsdp_multinode", 8), ("hsdp_multinode", 8), ("ddp", 8), ("cpu", 1)):
        before = Launcher.of_file(CONFIGS / f"{given}.yaml")
        file = machine.file_of(recipe, CONFIGS / f"{given}.yaml")
        made = Launcher.of_file(file)
        assert (made.processes, made.machines, made.on_cpu) == (processes, 1, False)
        assert (made.mixed_precision, made.sharded) == (before.mixed_precision, before.sharded)
        assert "parallelism_config" not in content_of(file)
    one = flavor.find("a100-large").file_of(recipe, CONFIGS / "ddp.yaml")
    assert Launcher.of_file(one) == Launcher()


@pytest.mark.usefixtures("hub")
def test_hours_and_prices_are_the_plans_and_the_hubs(capsys: pytest.CaptureFixture[str]) -> None:
    machine, folder = flavor.find("a100x8"), ROOT / "recipes" / "moxin-7b"
    files = {
        name: machine.file_of(read(folder / f"{name}.yaml"), None)
        for name in ("31-dpo", "60-release")
    }
    dpo, release = cost.estimates(folder, machine, files, None)
    assert dpo.hours is not None
    assert 5 < dpo.hours < 20
    assert 2 * dpo.hours + 1 <= dpo.timeout < 2 * dpo.hours + 2
    assert (release.hours, release.timeout) == (None, 6.0)
    cost.show([dpo, release], machine)
    said = capsys.readouterr().out
    assert "$18.00 an hour" in said
    assert f"{18 * dpo.hours:,.2f}" in said
    assert f"{18 * (dpo.timeout + 6):,.2f}" in said


def git(folder: Path, *words: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", *author, *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_code_that_a_job_cannot_get_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    (top / "recipes" / "mine").mkdir(parents=True)
    (top / "src" / "moxin_recipes").mkdir(parents=True)
    (top / "src" / "a.py").write_text("1\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "first")
    told: dict[str, Any] = {"commit": "HEAD", "address": None, "patch": None}
    monkeypatch.setattr(hub_code, "checkout", lambda: None)
    monkeypatch.setattr(hub_code, "code", lambda: told)

    def refused(ladder: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            code.of_ladder(ladder)
        return str(caught.value)

    mine = top / "recipes" / "mine"
    assert "run it from a git checkout" in refused(mine)
    monkeypatch.setattr(hub_code, "checkout", lambda: top)
    assert "is not below" in refused(tmp_path / "elsewhere")
    assert "has no remote `origin`" in refused(mine)
    told["address"] = "git@localhost:me/code.git"
    assert "`git push` first" in refused(mine)
    git(top, "update-ref", "refs/remotes/origin/main", "HEAD")
    assert code.of_ladder(mine) == Code("https://localhost/me/code.git", "HEAD", "recipes/mine", "")
    told["patch"] = "".join(f"{number * number}\n" for number in range(60_000))
    assert "commit it and `git push`" in refused(mine)

"""The Model Openness Framework on hand-made releases: what is found, what counts, which class."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from moxin_recipes import cli
from moxin_recipes.audit import framework, openness, released, tool_file
from moxin_recipes.audit.released import Artifact, Release
from moxin_recipes.hub import session
from moxin_recipes.hub.pull import Parent
from moxin_recipes.recipe.strict import RecipeError

Files = dict[str, bytes]
Repos = dict[str, Files]
# What schema/mof_schema.json of github.com/lfai/model_openness_tool @f0b0c13b asks for.
_TEXT = {"type": "string"}
_KINDS = ["", "language", "vision", "image", "audio", "video", "3d", "code", "multimodal", "other"]
SCHEMA = {
    "type": "object",
    "required": ["framework", "release"],
    "properties": {
        "framework": {
            "type": "object",
            "required": ["name", "version", "date"],
            "properties": {
                "name": {"type": "string", "enum": ["Model Openness Framework"]},
                "version": _TEXT,
                "date": {"type": "string", "format": "date"},
            },
        },
        "release": {
            "type": "object",
            "required": [
                *("name", "version", "license", "date", "architecture"),
                *("origin", "producer", "contact", "components"),
            ],
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "version": _TEXT,
                "license": {"type": "object"},
                "date": {"type": "string", "format": "date"},
                "type": {"type": "string", "enum": _KINDS},
                "architecture": {"type": "string", "enum": ["", "transformer decoder"]},
                "origin": _TEXT,
                "producer": _TEXT,
                "contact": _TEXT,
                "components": {
                    "type": "array",
                    "maxItems": 17,
                    "items": {
                        "type": "object",
                        "properties": dict.fromkeys(
                            ["name", "description", "license", "license_path", "component_path"],
                            _TEXT,
                        ),
                    },
                },
            },
        },
    },
}


def card(license: str | None, text: str = "What it is.", **more: Any) -> bytes:
    metadata = ({"license": license} if license else {}) | more
    return f"---\n{yaml.safe_dump(metadata)}---\n{text}\n".encode()


def manifest(stage: str, *licenses: str) -> bytes:
    """As a stage of these recipes leaves it, as far as it is read."""
    parts = [{"license": name, "of": f"source {name}"} for name in licenses]
    return json.dumps({"payload": "p", "stage": stage, "licenses": parts}).encode()


def complete() -> Repos:
    """All that Class I asks for; the order is that of the index, the first is the release."""
    return {
        "release": {
            "README.md": card("openmdw-1.0", pipeline_tag="text-generation"),
            "LICENSE": b"all of it",
            "model.safetensors": b"weights",
            "modeling_x.py": b"x",
            "src/train.py": b"x",
            "src/inference.py": b"x",
            "src/evaluate.py": b"x",
            "src/preprocess.py": b"x",
            "docs/technical-report.pdf": b"x",
            "docs/paper.pdf": b"x",
        },
        "base": {"README.md": card("cdla-permissive-2.0"), "model.safetensors": b"earlier"},
        "last": {"README.md": card("cc0-1.0"), "model.safetensors": b"weights"},
        "corpus": {"README.md": card("odc-by"), "web/train-00000.parquet": b"x"},
        "problems": {"README.md": card("cc-by-4.0"), "test.parquet": b"x"},
        "scores": {
            "README.md": card("cc0-1.0"),
            "moxin.json": manifest("evaluate", "CC0-1.0"),
            "units.json": b"{}",
            "items/test-00000.parquet": b"x",
        },
    }


def push(name: str, repos: Repos) -> str:
    """Pushes them as local/NAME-…, the release last with its index; returns its name."""
    hub = session.api()
    index = []
    for part in (*list(repos)[1:], "release"):
        kind = "model" if part in ("release", "base", "last") else "dataset"
        files = dict(repos[part])
        if part == "release":
            files.setdefault("release.json", json.dumps(index).encode())
        repo = hub.create_repo(f"local/{name}-{part}", repo_type=kind, exist_ok=True).repo_id
        there = hub.list_repo_files(repo, repo_type=kind)
        done = hub.create_commit(
            repo,
            [
                *(CommitOperationAdd(path, content) for path, content in files.items()),
                *(CommitOperationDelete(path) for path in there if path not in files),
            ],
            repo_type=kind,
            commit_message="Made",
        )
        index.append({"type": kind, "repo": repo, "commit": done.oid, "revision": "main"})
    return f"local/{name}-release"


@pytest.fixture(scope="module", autouse=True)
def hub() -> None:
    session.start()


def here(name: str, repos: Repos) -> Release:
    """The same release without a Hub."""
    artifacts = []
    for part, files in repos.items():
        kind = "model" if part in ("release", "base", "last") else "dataset"
        at = {"release": "release", "base": "earlier", "last": "models"}.get(part, "datasets")
        parent = Parent("k", kind, f"local/{name}-{part}", "main", "c" * 40, "p")
        made = json.loads(files["moxin.json"]) if "moxin.json" in files else None
        text = files.get("README.md", b"").decode()
        artifacts.append(Artifact.of(parent, at, files, text, made, private=False))
    return Release(artifacts)


def report(release: Release) -> tuple[int, str]:
    """The class that holds, and the report."""
    found = openness.findings(release)
    return openness.holding(found), "\n".join(openness.lines(release, found))


def test_a_complete_release_has_class_one() -> None:
    repo = push("whole", complete())
    held, text = report(released.read(repo))
    assert held == 1
    assert "class: Class I - Open Science Model" in text
    assert "missing for" not in text
    commit = session.api().repo_info(repo).sha
    assert f"{repo}@{commit}:docs/paper.pdf" in text
    assert "licence: CC-BY-4.0 AND ODC-By-1.0" in text  # of both datasets


Change = Callable[[Repos], object]


def without(repo: str, path: str) -> Change:
    return lambda repos: repos[repo].pop(path)


def with_file(repo: str, path: str, content: bytes) -> Change:
    return lambda repos: repos[repo].update({path: content})


def both(*changes: Change) -> Change:
    return lambda repos: [change(repos) for change in changes]


CHANGES: list[tuple[Change, int, str]] = [
    # A component deleted.
    (without("release", "model.safetensors"), 0, "  Model parameters (Final): missing"),
    (without("release", "modeling_x.py"), 0, "  Model architecture: missing"),
    (without("scores", "units.json"), 0, "  Evaluation results: missing"),
    (without("release", "src/train.py"), 3, "  Training code: missing"),
    (without("release", "src/inference.py"), 3, "  Inference code: missing"),
    (without("problems", "test.parquet"), 3, "  Evaluation data: missing"),
    (without("base", "model.safetensors"), 2, "  Model parameters (Intermediate): missing"),
    (without("corpus", "web/train-00000.parquet"), 2, "  Datasets: not in local/NAME-corpus"),
    (without("corpus", "README.md"), 0, "  Data card: not in local/NAME-corpus"),
    (
        with_file("problems", "README.md", card("mit", "")),
        0,
        "  Data card: not in local/NAME-problems",
    ),
    (with_file("release", "README.md", card("mit", " \n")), 0, "  Model card: missing"),
    # The paper stands for the report; without it, a report is no paper.
    (without("release", "docs/technical-report.pdf"), 1, "missing    Technical report"),
    (without("release", "docs/paper.pdf"), 2, "  Research paper: missing"),
    (
        both(
            without("release", "docs/paper.pdf"),
            with_file("release", "paper.md", b"generated"),
            with_file("release", "paper.html", b"generated"),
            with_file("last", "README.md", card("mit", "See https://arxiv.org/abs/2412.06845.")),
        ),
        2,
        "  Research paper: declared only: local/NAME-last@",
    ),
    # A licence deleted or changed.
    (with_file("problems", "README.md", card(None)), 0, "licence not stated: local/NAME-problems@"),
    (
        with_file("corpus", "README.md", card("cc-by-nc-4.0")),
        0,
        "licence not accepted: cc-by-nc-4.0",
    ),
    (
        with_file("base", "README.md", card("other", license_name="llama3")),
        2,
        "licence not accepted: llama3",
    ),
    (
        with_file("scores", "README.md", card("mit")),
        0,
        "says `license: mit`, its moxin.json cc0-1.0",
    ),
    (
        with_file("scores", "README.md", card(None)),
        0,
        "its README.md states no licence, its moxin.json cc0-1.0",
    ),
    (
        with_file("scores", "moxin.json", manifest("evaluate", "MIT", "PSF-2.0")),
        0,
        "its README.md says `license: cc0-1.0`, its moxin.json other",
    ),
    (
        with_file(
            "scores", "moxin.json", b'{"payload": "p", "stage": "evaluate", "licenses": ["MIT"]}'
        ),
        0,
        "its moxin.json has no licences that can be read",
    ),
    (
        with_file(
            "scores", "moxin.json", b'{"payload": "p", "stage": "evaluate", "licenses": null}'
        ),
        0,
        "its moxin.json has no licences that can be read",
    ),
    # Words that are part of another one.
    (
        both(
            without("release", "src/train.py"),
            with_file("release", "src/constraint.py", b"x"),
            with_file("release", "src/trains.txt", b"x"),
        ),
        3,
        "  Training code: missing",
    ),
    (
        both(without("release", "src/evaluate.py"), with_file("release", "retrieval.py", b"x")),
        3,
        "  Evaluation code: missing",
    ),
    (
        both(without("problems", "test.parquet"), with_file("problems", "latest.parquet", b"x")),
        3,
        "  Evaluation data: missing",
    ),
    (
        both(without("release", "docs/paper.pdf"), with_file("release", "newspaper.pdf", b"x")),
        2,
        "  Research paper: missing",
    ),
    # Other names for the same.
    (
        both(
            without("release", "src/train.py"),
            with_file("release", "scripts/sft_train.py", b"x"),
        ),
        1,
        ":scripts/sft_train.py",
    ),
    (
        both(
            without("release", "docs/paper.pdf"),
            without("release", "docs/technical-report.pdf"),
            with_file("release", "Technical_Report.pdf", b"x"),
        ),
        2,
        ":Technical_Report.pdf",
    ),
    (
        both(
            without("problems", "test.parquet"),
            with_file("problems", "data/validation-00000.jsonl.gz", b"x"),
        ),
        1,
        ":data/validation-00000.jsonl.gz",
    ),
    # Licences that are open, and made for something else.
    (with_file("corpus", "README.md", card("gpl-3.0")), 1, "open, but not made for data: GPL-3.0"),
    (with_file("release", "README.md", card("cc-by-sa-4.0")), 1, "made for code: CC-BY-SA-4.0"),
    # What a card says, and is not there.
    (
        both(
            without("release", "modeling_x.py"),
            with_file("release", "README.md", card("mit", library_name="transformers")),
        ),
        0,
        "  Model architecture: declared only: local/NAME-release@",
    ),
    (
        both(
            without("release", "src/evaluate.py"),
            with_file("scores", "README.md", card("cc0-1.0", "By lm-eval 0.4.13.")),
        ),
        3,
        ":README.md says `lm-eval`",
    ),
]


@pytest.mark.parametrize(("change", "held", "line"), CHANGES)
def test_a_change_is_noticed(change: Change, held: int, line: str) -> None:
    repos = complete()
    change(repos)
    found, text = report(here("x", repos))
    assert line.replace("NAME", "x") in text
    assert found == held


@pytest.mark.parametrize("line", ["  Training code: missing", "its moxin.json other"])
def test_a_change_on_the_hub_is_noticed(line: str) -> None:
    (change, held), *_ = [c[:2] for c in CHANGES if c[2].endswith(line)]
    repos = complete()
    push("on-hub", repos)
    change(repos)
    found, text = report(released.read(push("on-hub", repos)))
    assert line in text
    assert found == held


def test_what_left_the_hub_is_not_found_though_the_cache_has_it() -> None:
    repo = push("left", complete())
    assert report(released.read(repo))[0] == 1
    session.api().delete_repo("local/left-problems", repo_type="dataset")
    session.api().delete_repo("local/left-base")
    held, text = report(released.read(repo))
    assert held == 3
    assert "missing for Class II - Open Tooling Model:\n  Evaluation data: missing" in text
    assert text.count("not on the Hub: local/left-") == 2
    assert "(dataset)" in text
    assert "local/left-problems" not in text.split("not on the Hub")[0]


def test_a_private_part_is_named() -> None:
    repo = push("closed", complete())
    assert "private" not in report(released.read(repo))[1]
    session.api().update_repo_settings("local/closed-base", private=True)
    assert "private, so nobody else sees it: local/closed-base" in report(released.read(repo))[1]


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (None, "has no release.json; name the repository that the stage `release` pushes"),
        (b"no JSON", ":release.json is no index of a release"),
        (b'{"models": []}', ":release.json is no index of a release"),
        (b'[{"type": "model", "repo": "a/b"}]', ":release.json is no index of a release"),
        (b'[{"type": "space", "repo": "a/b", "commit": "c"}]', ":release.json is no index"),
        (b"\xff\xfe", ":release.json is no index of a release"),
    ],
)
def test_what_is_no_index_is_said_so(index: bytes | None, said: str) -> None:
    name = f"local/index-{len(index or b'')}"
    hub = session.api()
    hub.create_repo(name, exist_ok=True)
    path, content = ("x.txt", b"x") if index is None else ("release.json", index)
    hub.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=name)
    with pytest.raises(RecipeError, match=said):
        released.read(name)


@pytest.mark.parametrize("written", ["local/nowhere", "local/whole-release@nowhere"])
def test_a_release_that_is_not_there(written: str) -> None:
    session.api().create_repo("local/whole-release", exist_ok=True)
    with pytest.raises(session.MissingError, match="no such"):
        released.read(written)


@pytest.mark.parametrize(
    ("license", "kind", "expected"),
    [
        ("apache-2.0", "code", True),
        ("Apache-2.0", "document", True),
        ("Apache-2.0", "data", None),
        ("cc-by-4.0", "document", True),
        ("CC-BY-4.0", "data", True),
        ("CC-BY-4.0", "code", None),
        ("odc-by", "data", True),
        ("c-uda", "data", True),
        ("openmdw-1.0", "code", True),
        ("OpenMDW-1.0", "data", True),
        ("LGPL-2.1-or-later", "code", True),
        ("MIT OR LicenseRef-x", "code", True),
        ("LicenseRef-x OR CC0-1.0", "code", None),
        ("MIT AND LicenseRef-x", "code", False),
        ("(MIT OR LicenseRef-x) AND BSD-3-Clause", "code", True),
        ("MIT and Apache-2.0", "code", True),
        ("cc-by-nc-4.0", "data", False),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", "code", True),
        ("GNU Lesser General Public License v2 or later (LGPLv2+)", "data", None),
        ("BSD License", "code", False),
        ("PSF-2.0", "code", False),
        ("GPL-3.0-only WITH LicenseRef-x", "code", False),
        ("unknown", "data", False),
        ("", "data", False),
    ],
)
def test_licences_by_kind(license: str, kind: str, expected: bool | None) -> None:
    assert framework.accepts(license, kind) is expected


def test_the_framework_has_seventeen_components_in_three_classes() -> None:
    wanted = {
        number: sum(c.of_class == number and c.required for c in framework.components())
        for number in framework.classes()
    }
    assert len({c.name for c in framework.components()}) == 17
    assert wanted == {3: 6, 2: 4, 1: 4}
    assert {c.kind for c in framework.components()} == {"code", "data", "document"}


@pytest.mark.parametrize("lost", [(), ("docs/paper.pdf", "modeling_x.py", "README.md", "LICENSE")])
def test_the_tools_file_is_valid_and_names_only_what_is_there(lost: tuple[str, ...]) -> None:
    repos = complete()
    for path in lost:
        del repos["release"][path]
    release = released.read(push("written", repos))
    found = openness.findings(release)
    path = tool_file.write(release, found)
    content = yaml.safe_load(path.read_text())
    jsonschema.validate(content, SCHEMA, format_checker=jsonschema.FormatChecker())
    named = [component["name"] for component in content["release"]["components"]]
    assert named == [one.component.name for one in found if one.places]
    for one in content["release"]["components"]:
        _, kind, repo, commit, place = split(one["component_path"])
        assert session.api().file_exists(repo, place, repo_type=kind, revision=commit)
    del content["release"]["license"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


def split(address: str) -> tuple[str, str, str, str, str]:
    """Endpoint, type, repository, commit and path of an address of a file."""
    host, rest = address.split("/", 3)[:3], address.split("/", 3)[3]
    kind = "dataset" if rest.startswith("datasets/") else "model"
    namespace, name, _, commit, path = rest.removeprefix("datasets/").split("/", 4)
    return "/".join(host), kind, f"{namespace}/{name}", commit, path


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    repos = complete()
    repos["base"]["README.md"] = card("cc-by-nc-4.0")
    repo = push("said", repos)
    monkeypatch.setattr("sys.argv", ["moxin", "check", "--openness", repo])
    cli.main()
    said = capsys.readouterr().out.splitlines()
    assert "class: Class II - Open Tooling Model" in said
    at = said.index("missing for Class I - Open Science Model:")
    assert said[at + 1].startswith(
        "  Model parameters (Intermediate): licence not accepted: cc-by-nc-4.0 (local/said-base@"
    )
    written = said[at + 2].removeprefix("the model openness tool's file: ")
    release = yaml.safe_load(Path(written).read_text())["release"]
    licenses = {one["name"]: one["license"] for one in release["components"]}
    assert licenses["Model parameters (Intermediate)"] == "CC-BY-NC-4.0".lower()
    assert licenses["Datasets"] == "CC-BY-4.0 AND ODC-By-1.0"
    assert (release["name"], release["producer"]) == ("said-release", "local")
    assert release["type"] == "language"


@pytest.mark.parametrize("words", [[], ["recipes/moxin-nano", "--openness", "a/b"]])
def test_recipes_or_a_release(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["moxin", "check", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert "--openness" in capsys.readouterr().err

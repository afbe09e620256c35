"""A path in a recipe: pushed once as a private dataset, pinned, and digested like any input."""

import os
from pathlib import Path

import pytest

from moxin_recipes import environment
from moxin_recipes.hub import own, pull, session
from moxin_recipes.hub.session import HubError, MissingError
from moxin_recipes.hub.splits import load_split
from moxin_recipes.recipe.evaluation_sets import EvaluationSet
from moxin_recipes.recipe.fields import Reference, references
from moxin_recipes.recipe.keys.data import DataKeys, Source
from moxin_recipes.recipe.keys.sft import SftKeys
from moxin_recipes.recipe.strict import RecipeError

NAMES = (
    " spaces .txt",
    "a.txt",
    "b/c.md",
    "a b/ä#%2F*[1]?@x.jsonl",
    "README.md",
    "a\\b.txt",
    "x" * 200 + ".txt",
)


pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture(autouse=True)
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, with the one above as the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "My Texts@home"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}")
    return folder


def reference(path: object) -> Reference:
    return Reference("sources[0]", "dataset", str(path), "main")


def brought(path: object) -> pull.Parent:
    own.bring(own.all_of([reference(path)]))
    return pull.resolve(reference(path))


def commits(parent: pull.Parent) -> int:
    return len(session.api().list_repo_commits(parent.repo, repo_type="dataset"))


def test_a_path_is_an_input_as_any_other(texts: Path) -> None:
    keys = DataKeys(
        stage="data",
        sources=[Source(name="a", dataset="./My Texts@home"), Source(name="b", dataset="a/b@c")],
        decontaminate=[EvaluationSet(name="e", dataset="../e.jsonl")],
        tokenizer_name_or_path="t@1",
    )
    assert [(found.repo, found.revision) for found in references(keys)] == [
        ("t", "1"),
        ("./My Texts@home", "main"),
        ("a/b", "c"),
        ("../e.jsonl", "main"),
    ]
    parent = brought("./My Texts@home")
    assert parent.repo.startswith("local/own-my-texts-home-")
    assert session.api().dataset_info(parent.repo).private
    listed = [file for file in pull.files(parent) if file != ".gitattributes"]
    assert listed == [f"data/{name}" for name in sorted(NAMES)]
    there = pull.download(parent)
    assert (there / "data" / NAMES[3]).read_text() == f"text of {NAMES[3]}"
    # By whatever path it is named, and without a new commit.
    assert brought(texts).commit == parent.commit
    assert brought("../" + texts.parent.name + "/My Texts@home/").commit == parent.commit


def test_the_key_follows_the_content_alone(texts: Path) -> None:
    first = brought(texts)
    (texts / "a.txt").write_text("another")
    with pytest.raises(MissingError, match="not on this Hub as it is now"):
        pull.resolve(reference(texts))
    changed = brought(texts)
    assert changed.payload != first.payload
    (texts / "new.txt").write_text("new")
    (texts / "b" / "c.md").unlink()
    assert "data/b/c.md" not in pull.files(brought(texts))
    (texts / "new.txt").unlink()
    (texts / "b" / "c.md").write_text("text of b/c.md")
    (texts / "a.txt").write_text("text of a.txt")
    os.utime(texts / "a.txt", (0, 0))
    assert brought(texts).payload == first.payload
    moved = texts.rename(texts.parent / "moved")
    assert brought(moved).payload == first.payload
    assert brought(moved).repo != first.repo


def test_a_readme_of_ones_own_is_no_card(texts: Path) -> None:
    """Whatever it holds; a Hub refuses cards whose head is no metadata it knows."""
    for content in (b"---\na: b: c\n---\n", b"---\nSome words\n---\n", b"caf\xe9", b""):
        (texts / "README.md").write_bytes(content)
        assert (pull.download(brought(texts)) / "data" / "README.md").read_bytes() == content


def test_big_files_are_told_by_their_digest_too(tmp_path: Path) -> None:
    big = tmp_path / "big.parquet"
    big.write_bytes(bytes(12_000_000))
    first = brought("./big.parquet")
    assert pull.files(first)[-1] == "data/big.parquet"
    assert brought(big).commit == first.commit
    big.write_bytes(bytes(11_999_999) + b"x")
    assert brought(big).commit != first.commit
    assert commits(first) == 3


def test_what_is_hidden_or_a_link_is_left_out_and_said(texts: Path) -> None:
    (texts / ".env").write_text("SECRET")
    (texts / ".git").mkdir()
    (texts / ".git" / "config").write_text("x")
    (texts / "Thumbs.db").write_text("x")
    (texts / "moxin.json").write_text('{"payload": "of another"}')
    (texts / "link.txt").symlink_to(texts / "a.txt")
    (texts / "folder").symlink_to("/etc")
    (texts / "gone").symlink_to(texts / "nothing")
    os.mkfifo(texts / "b" / "pipe")
    (found,) = own.all_of([reference(texts)])
    assert list(found.files) == sorted(NAMES)
    said = str(found)
    assert f"{texts} → local/own-" in said
    assert f"7 files, {sum((texts / name).stat().st_size for name in NAMES)} bytes" in said
    for name in (
        ".env",
        ".git/",
        "Thumbs.db",
        "moxin.json",
        "link.txt",
        "folder",
        "gone",
        "b/pipe",
    ):
        assert name in said
    assert "data/.env" not in pull.files(brought(texts))
    # A link that is named is followed.
    (texts.parent / "named").symlink_to(texts)
    assert list(own.all_of([reference("./named")])[0].files) == sorted(NAMES)


def test_what_is_not_there_or_empty_is_named(texts: Path) -> None:
    (texts.parent / "empty" / "within").mkdir(parents=True)
    (texts.parent / "empty" / ".x").write_text("x")
    for path, said in (
        ("./nothing", "./nothing: there is no such file or folder (looked for /"),
        ("./empty", "holds no file but what is hidden or a link: .x"),
    ):
        with pytest.raises(MissingError) as caught:
            brought(path)
        assert said in str(caught.value)
    (texts / "new\nline.txt").write_text("x")
    with pytest.raises(RecipeError, match="cannot be shown"):
        brought(texts)


def test_no_other_host_gets_it_unless_it_was_named(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(environment._NAMED, raising=False)
    for endpoint in ("https://huggingface.co", "https://hub.example.com:8080", None):
        with monkeypatch.context() as context:
            if endpoint:
                context.setenv("HF_ENDPOINT", endpoint)
            else:
                context.delenv("HF_ENDPOINT")
            assert not environment.takes_own_files()
            with pytest.raises(
                RecipeError, match="--hub hf"
            ):  # the client still asks the local one
                own.bring(own.all_of([reference(texts)]))
            context.setenv(environment._NAMED, "hf")
            assert environment.takes_own_files()
    with pytest.raises(MissingError):
        pull.resolve(reference(texts))


def test_a_public_repository_gets_nothing(texts: Path) -> None:
    parent = brought(texts)
    session.api().update_repo_settings(parent.repo, repo_type="dataset", private=False)
    (texts / "a.txt").write_text("secret")
    with pytest.raises(HubError, match="is public"):
        brought(texts)


def test_a_repository_of_the_other_type_is_named(texts: Path) -> None:
    session.api().create_repo("local/a-model", repo_type="model")
    session.api().create_repo("local/a-dataset", repo_type="dataset")
    for kind, repo, said in (
        ("dataset", "a-model", "is a model repository, and this key reads a dataset"),
        ("model", "a-dataset", "is a dataset repository, and this key reads a model"),
    ):
        with pytest.raises(HubError) as caught:
            pull.resolve(Reference("dataset_name", kind, repo, "main"))
        assert said in str(caught.value)
        assert f"--type {kind}" in str(caught.value)
    for name in ("plain", "two/names", "a/b/c d.txt"):
        (texts.parent / name).mkdir(parents=True)
        with pytest.raises(MissingError, match=rf"write \./{name} for what lies here"):
            pull.resolve(reference(name))
    with pytest.raises(HubError, match="Repo id"):
        pull.resolve(reference("not here/b/c"))


def test_models_are_no_paths() -> None:
    keys = SftKeys(
        stage="sft",
        model_name_or_path="./my-model",
        dataset_name="./chats.jsonl",
        hub_model_id="m",
        global_batch_size=1,
    )
    with pytest.raises(RecipeError, match=r"`model_name_or_path`: \./my-model is a path"):
        keys.check()
    with pytest.raises(HubError, match="Repo id"):  # as `moxin chat ./my-model` asks
        pull.resolve(Reference("MODEL", "model", "./my-model", "main"))


def test_a_data_set_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for name, content in {
        "a.jsonl": b'{"messages": []}\n{"messages": [',
        "b.parquet": b"no parquet",
        "c.jsonl.gz": b"no archive",
        "d.docx": b"x",
        "e.csv": b"",
        "f.jsonl": "{}".encode("utf-16"),
    }.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(RecipeError) as caught:
            load_split(folder, None, "train", ["messages"], "dataset_name")
        assert str(caught.value).startswith("`dataset_name`: ")
        assert len(str(caught.value).splitlines()) == 1

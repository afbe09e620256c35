"""The list `decontaminate` of post-training: written there, or that of a data stage's recipe."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT

from moxin_recipes.recipe import old_keys
from moxin_recipes.recipe.identity import identity
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import Recipe, read
from moxin_recipes.recipe.strict import RecipeError

SFT: dict[str, Any] = {
    "stage": "sft",
    "model_name_or_path": "base@pretrain",
    "dataset_name": "chat@data",
    "hub_model_id": "sft",
    "global_batch_size": 32,
}
QUIZ = {"name": "quiz", "dataset": "some/quiz@v1", "columns": ["question", "answers.text"]}
MADE = {"name": "longer", "dataset": "problems", "split": "longer", "columns": ["problem"]}
CHOICES = {"name": "choices", "dataset": "problems", "configs": ["choices"]}
DATA = {
    "stage": "data",
    "hub_problems_id": "made-problems",
    "decontaminate": [QUIZ, {"name": "heldout", "dataset": "heldout"}, MADE, CHOICES],
}
LISTED = [
    QUIZ,
    {**MADE, "configs": ["problems"], "dataset": "made-problems@data"},
    {**CHOICES, "dataset": "made-problems@data"},
]


def ladder(folder: Path, **changes: Any) -> Path:
    """A folder with `00-data.yaml` and `30-sft.yaml`; the latter."""
    folder.mkdir()
    (folder / "00-data.yaml").write_text(yaml.safe_dump(DATA))
    path = folder / "30-sft.yaml"
    path.write_text(yaml.safe_dump({**SFT, **changes}))
    return path


def keys(recipe: Recipe[Any]) -> tuple[str, str]:
    """The key of a run of the recipe on these inputs, and that in the first form."""
    payloads = [(r.key, f"{r.repo}@{r.revision}") for r in recipe.references]
    of = identity(recipe, payloads, Launcher())
    return of.key, of.old_key


def test_the_list_of_a_data_stage_is_read_without_its_heldout_documents(tmp_path: Path) -> None:
    recipe = read(ladder(tmp_path / "main", decontaminate="00-data.yaml"))
    assert recipe.values["decontaminate"] == LISTED  # as the manifest has it
    nested = [(r.key, r.type, r.repo, r.revision) for r in recipe.references[2:]]
    assert nested == [
        ("decontaminate[0]", "dataset", "some/quiz", "v1"),
        ("decontaminate[1]", "dataset", "made-problems", "data"),
        ("decontaminate[2]", "dataset", "made-problems", "data"),
    ]
    recipe.keys.check()
    written = read(ladder(tmp_path / "written", decontaminate=LISTED))
    assert written.keys == recipe.keys
    assert keys(written) == keys(recipe)


def test_the_path_is_from_the_file_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ladder(tmp_path / "main", decontaminate="00-data.yaml")
    (tmp_path / "arm").mkdir()
    arm = tmp_path / "arm" / "30-sft.yaml"
    arm.write_text("extends: ../main/30-sft.yaml\n")
    assert read(arm).values["decontaminate"] == LISTED
    (tmp_path / "arm" / "00-data.yaml").write_text("extends: ../main/00-data.yaml\n")
    arm.write_text("extends: ../main/30-sft.yaml\ndecontaminate: 00-data.yaml\n")
    assert read(arm).values["decontaminate"] == LISTED
    arm.write_text("extends: ../main/30-sft.yaml\ndecontaminate: []\n")
    assert read(arm).keys.decontaminate == []
    assert read(path, ["--decontaminate", "[]"]).keys.decontaminate == []
    monkeypatch.chdir(tmp_path)
    bare = ladder(tmp_path / "bare")
    assert read(bare, ["--decontaminate", "main/00-data.yaml"]).values["decontaminate"] == LISTED


def test_sets_decide_the_result_and_none_leave_it_as_it_was(tmp_path: Path) -> None:
    bare = keys(read(ladder(tmp_path / "bare")))
    assert keys(read(ladder(tmp_path / "none", decontaminate=[]))) == bare
    searched = [
        keys(read(ladder(tmp_path / str(number), decontaminate=sets)))
        for number, sets in enumerate(
            ([QUIZ], [{**QUIZ, "rules": ["13-gram"]}], [{**QUIZ, "dataset": "some/other"}])
        )
    ]
    assert len({bare[0], *(new for new, _ in searched)}) == 4
    assert bare[1] not in {old for _, old in searched}  # nor is it done by a run without


def test_a_later_key_counts_where_it_changes_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, asked = ladder(tmp_path / "bare"), ladder(tmp_path / "asked", prompt_suffix=" Why?")
    before = keys(read(bare))[1], keys(read(asked))[1]
    monkeypatch.setattr(old_keys, "_LATER", ("prompt_suffix",))
    now = keys(read(bare))[1], keys(read(asked))[1]
    assert now[0] != before[0]  # the default has no part
    assert now[1] != now[0]  # and what was done without it is not done with it


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("01-data.yaml", "`decontaminate`: {folder}/01-data.yaml: No such file"),
        (".", "`decontaminate`: {folder}: Is a directory"),
        ("30-sft.yaml", "`decontaminate`: {folder}/30-sft.yaml lists no evaluation set under"),
        ("only-heldout.yaml", "only-heldout.yaml lists no evaluation set under `decontaminate`"),
        ("broken.yaml", "`decontaminate`: {folder}/broken.yaml: not YAML: line 1"),
        ([{**QUIZ, "dataset": "heldout"}], "`decontaminate[0].dataset`: heldout is made by the"),
        ([QUIZ, MADE], "`decontaminate[1].dataset`: problems is made by the stage `data`"),
        ([{**QUIZ, "dataset": "local"}], "`decontaminate[0].dataset`: local is made by"),
        ([QUIZ, QUIZ], "`decontaminate`: quiz is named twice"),
        ([{**QUIZ, "columns": []}], "`decontaminate[0].columns` is empty"),
        ([{**QUIZ, "rules": ["9-gram"]}], "`decontaminate[0].rules[0]` must be 8-gram or"),
        ([{"name": "quiz"}], "`decontaminate[0].dataset` is missing"),
        (["some/quiz"], "`decontaminate[0]` must be EvaluationSet, not 'some/quiz' (str)"),
        (7, "`decontaminate` must be list of EvaluationSet, not 7 (int)"),
    ],
)
def test_what_is_no_list_of_sets_is_one_line(tmp_path: Path, value: Any, message: str) -> None:
    folder = tmp_path / "main"
    path = ladder(folder, decontaminate=value)
    heldout = {**DATA, "decontaminate": [{"name": "heldout", "dataset": "heldout"}]}
    (folder / "only-heldout.yaml").write_text(yaml.safe_dump(heldout))
    (folder / "broken.yaml").write_text("a: [1")
    with pytest.raises(RecipeError) as caught:
        read(path).keys.check()
    assert message.format(folder=folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_stage_lists_its_sets_itself(tmp_path: Path) -> None:
    path = ladder(tmp_path / "main").with_name("01-data.yaml")
    path.write_text(yaml.safe_dump({**DATA, "decontaminate": "00-data.yaml"}))
    with pytest.raises(RecipeError, match="`decontaminate` must be list of EvaluationSet"):
        read(path)


TUNED = [
    path
    for path in sorted(ROOT.glob("recipes/moxin-7b*/[34]?-*.yaml"))
    if not path.stem.endswith("distill")
]


@pytest.mark.parametrize("path", TUNED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_post_training_of_the_7b_ladder_leaves_out_what_it_is_scored_on(path: Path) -> None:
    corpus = read(ROOT / "recipes" / "moxin-7b" / "00-data.yaml").keys
    names = [wanted.name for wanted in read(path).keys.decontaminate]  # type: ignore[attr-defined]
    assert {"gsm8k", "math500", "mmlu", "humaneval", "amc23", "minerva"} < set(names)
    everything = [wanted.name for wanted in corpus.decontaminate]  # type: ignore[attr-defined]
    assert names == [name for name in everything if name != "heldout"]

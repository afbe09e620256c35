"""Tasks read from their files: what they are, and what makes them another task."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from moxin_recipes.recipe import benchmarks
from moxin_recipes.recipe.benchmarks import UnknownTask
from moxin_recipes.recipe.identity import identity
from moxin_recipes.recipe.keys.evaluate import EvaluateKeys, Evaluation, Generation
from moxin_recipes.recipe.launcher import Launcher
from moxin_recipes.recipe.reading import read


def write(folder: Path, name: str = "task.yaml", **values: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump({"task": "mine", "dataset_path": "json", **values}))
    return path


def digest(path: Path) -> str:
    (leaf,) = benchmarks.find(str(path)).leaves
    return leaf.digest()


@pytest.mark.parametrize("named", ["items.jsonl", "./items.jsonl", "*.jsonl", "{folder}/it*.jsonl"])
@pytest.mark.parametrize("key", ["data_files", "nested", "data_dir"])
def test_other_items_are_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.jsonl").write_text("{}")
    where: Any = named.format(folder=tmp_path)
    given = {"data_files": {"test": [where]}} if key == "nested" else {"data_files": where}
    given = {"data_dir": str(tmp_path)} if key == "data_dir" else given
    path = write(tmp_path, dataset_kwargs=given)
    before = digest(path)
    assert digest(path) == before
    (tmp_path / "items.jsonl").write_text("{ }")
    assert digest(path) != before


@pytest.mark.parametrize(
    "text", ["/", "a/" + "b" * 300, "{{question}}/" + "x" * 5000, "\0/", "*/**", "~/x"]
)
def test_a_prompt_is_no_path(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, doc_to_text=text, target_delimiter="/")
    assert digest(path) == digest(path)
    assert digest(path) != digest(write(tmp_path, "other.yaml", doc_to_text=text))


def test_a_function_that_changed_is_another_task(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def text(doc):\n    return 1\n")
    base = tmp_path / "base.yaml"
    base.write_text("task: mine\ndataset_path: json\ndoc_to_text: !function own.text\n")
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "task.yaml"
    path.write_text("include: ../base.yaml\ntask: mine\n")
    before = digest(path)
    (tmp_path / "own.py").write_text("def text(doc):\n    return 2\n")
    assert digest(path) != before


def test_all_tasks_of_lm_eval_have_a_digest() -> None:
    names = [name for name, entry in benchmarks._lm_eval().items() if "file" in entry]
    for name in [*names[::40], "kmmlu_cot_hard_chemistry"]:
        for leaf in benchmarks.find(name).leaves:
            assert len(leaf.digest()) == 64


@pytest.mark.parametrize("content", ["", "- a\n", "a: [\n", "x: 1\n", "task: {a: 1}\n"])
def test_a_file_that_is_no_task_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UnknownTask, match=r"broken\.yaml is no task file"):
        benchmarks.find(str(path))
    with pytest.raises(UnknownTask, match="is no task file"):
        benchmarks.find(str(tmp_path / "none.yaml"))


def test_files_of_ones_own_decide_whether_scores_are_done(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text("{}")
    task = write(tmp_path, dataset_kwargs={"data_files": str(tmp_path / "items.jsonl")})
    suite = tmp_path / "suite.yaml"
    asked = {"source": "here", "tasks": [{"task": str(task)}]}
    suite.write_text(yaml.safe_dump(asked))
    line: dict[str, Any] = {"model": "m", "suite": str(suite)}
    recipe = {"stage": "evaluate", "models": ["m"], "hub_scores_id": "s", "evaluations": [line]}
    path = tmp_path / "50-evaluate.yaml"

    def key() -> str:
        path.write_text(yaml.safe_dump(recipe))
        return identity(read(path), [], Launcher()).key

    seen = [key()]
    assert key() == seen[0]
    (tmp_path / "items.jsonl").write_text("{ }")
    seen.append(key())
    suite.write_text(yaml.safe_dump({**asked, "source": "there"}))
    seen.append(key())
    line.pop("suite")
    line["task"] = str(task)
    seen.append(key())
    write(tmp_path, dataset_kwargs={"data_files": str(tmp_path / "items.jsonl")}, num_fewshot=1)
    seen.append(key())
    assert len(set(seen)) == 5


def test_what_stands_beside_a_suite_goes_over_it(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    inner = {"temperature": 0.6, "max_tokens": 32768}
    task = {"task": "gsm8k_cot", "samples": 16, "generation": inner}
    suite.write_text(yaml.safe_dump({"source": "here", "tasks": [task, {"task": "mmlu"}]}))
    line = Evaluation(
        model="m", suite=str(suite), chat=True, generation=Generation(temperature=1.0)
    )
    keys = EvaluateKeys(stage="evaluate", models=["m"], evaluations=[line], hub_scores_id="s")
    first, second = keys.asked()
    assert first.generation == Generation(temperature=1.0, max_tokens=32768)
    assert (first.samples, first.chat, second.samples, second.chat) == (16, True, 1, True)

"""`moxin gguf` of a ladder's models: a file here, or a branch that leaves the rest as it was."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Workplace, serving
from tests.llama_cpp import loaded, texts
from tests.test_ladder import python
from transformers import AutoTokenizer

MODEL = "local/moxin-nano-reasoning"


@pytest.fixture(scope="module")
def copied(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The finished ladder with a Hub of its own."""
    home = tmp_path_factory.mktemp("gguf") / "home"
    shutil.copytree(finished.home / "hub", home / "hub")
    (home / "hub" / "port").unlink()
    place = Workplace(home, finished.ladder)
    with serving(place), place.warmed() as warmed:
        yield warmed


def hub(place: Workplace) -> dict[str, dict[str, str]]:
    """Branches and tags of the model's repository, and what its main holds."""
    told = python(
        place,
        "import json; from huggingface_hub import HfApi; api = HfApi()\n"
        f"refs = api.list_repo_refs({MODEL!r})\n"
        "print(json.dumps({'branches': {r.name: r.target_commit for r in refs.branches},\n"
        "  'tags': {r.name: r.target_commit for r in refs.tags}}))",
    )
    found: dict[str, dict[str, str]] = json.loads(told)
    return found


def test_a_branch_of_its_own_that_its_card_serves(copied: Workplace, tmp_path: Path) -> None:
    before = hub(copied)
    done = copied.moxin("gguf", MODEL.split("/")[1], "--push", "--hub", "local")
    assert done.returncode == 0, done.stderr
    after = hub(copied)
    commit = after["branches"].pop("gguf")
    assert done.stdout == f"pushed to {MODEL}@gguf ({commit[:12]})\n"
    added = after["tags"].keys() - before["tags"].keys()
    assert [after["tags"].pop(tag) for tag in added] == [commit]
    assert after == before

    (tmp_path / "source").mkdir()
    main = before["branches"]["main"]
    card = python(
        copied,
        "from huggingface_hub import snapshot_download as get\n"
        f"print(open(get({MODEL!r}, revision='gguf') + '/README.md').read())\n"
        f"get({MODEL!r}, local_dir={str(tmp_path / 'source')!r})",
    )
    lines = card.splitlines()
    serve = "-m moxin-nano-reasoning-gguf/moxin-nano-reasoning.f16.gguf -c 256 --jinja"
    assert f"llama-server {serve}" in lines
    assert f"vllm serve {MODEL} --revision {main}" in lines
    assert f"transformers serve {MODEL}@{main}" in lines
    assert "base_model_relation: quantized" in lines
    assert "**Up to 256 tokens.** The model attends to the last 256 tokens." in card
    assert "| the source stdlib-code | PSF-2.0 |" in lines

    (download,) = [line for line in lines if line.startswith("hf download ")]
    program = Path(sys.executable).parent / "hf"
    environment = copied.environment() | json.loads(
        python(copied, "import json, os; print(json.dumps(dict(os.environ)))")
    )
    words = [str(program), *shlex.split(download)[1:]]
    subprocess.run(words, env=environment, cwd=tmp_path, check=True, capture_output=True)
    folder = tmp_path / "moxin-nano-reasoning-gguf"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {"README.md", "moxin.json", "moxin-nano-reasoning.f16.gguf"}
    manifest = json.loads((folder / "moxin.json").read_text())
    (parent,) = manifest["parents"]
    assert (parent["repo"], parent["commit"]) == (MODEL, main)
    assert manifest["gguf"]["pre_tokenizer"] == "smollm"
    theirs = AutoTokenizer.from_pretrained(tmp_path / "source")
    with loaded(folder / "moxin-nano-reasoning.f16.gguf") as referee:
        for text in texts(100):
            assert referee.ids(text) == theirs(text)["input_ids"]

    (again,) = [line for line in lines if line.startswith("moxin gguf ")]
    repeated = copied.moxin(*shlex.split(again)[1:], "--hub", "local")
    assert repeated.returncode == 0, repeated.stderr
    assert hub(copied)["branches"]["gguf"] == commit
    verified = copied.moxin("verify", f"{MODEL}@gguf", "--hub", "local")
    assert verified.returncode == 0, verified.stdout
    assert f"{MODEL}@{commit[:12]}  gguf, " in verified.stderr


def test_a_file_here_and_what_has_none(copied: Workplace, tmp_path: Path) -> None:
    path = tmp_path / "new" / "base.gguf"
    base = "moxin-nano-base@pretrain-2k"
    done = copied.moxin("gguf", base, "--type", "q8_0", "--out", str(path), "--hub", "local")
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    with loaded(path) as referee:
        assert referee.ids("1 + 1")
    for model, why in (
        ("moxin-nano-tokenizer", "it holds no model in safetensors, and a GGUF is written of a "),
        ("moxin-nano-chat", "moxin-nano-chat is a dataset repository"),
    ):
        refused = copied.moxin("gguf", model, "--hub", "local")
        assert refused.returncode == 1
        assert why in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1

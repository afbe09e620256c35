"""docs/own-data.md: its commands, run as they stand there, in a folder of mixed files."""

import gzip
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, SMALL, Workplace, serving

STORY = "Once upon a time there was a café by the sea, and number {} was its guest. "
SMALLER: dict[str, dict[str, Any]] = {
    "data": {"vocab_size": 300, "maths_documents": 200, "chat_rows": 40, "heldout_bytes": 2000},
    "init": SMALL["10-init"],
    "pretrain": {"max_steps": 3, "save_steps": 3, "warmup_steps": 1, "context_length": 64},
    "sft": {"max_steps": 2, "save_steps": 2, "global_batch_size": 2},
}
SMALLER["sft"]["per_device_train_batch_size"] = 2


def commands() -> list[str]:
    """Those of the page's one block of commands."""
    [block] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "own-data.md").read_text(), re.S)
    return [line for line in block.splitlines() if line]


def write_texts(folder: Path) -> None:
    """Files of several kinds and encodings, a hidden one, and a link."""
    story = [STORY.format(number) * 8 for number in range(60)]
    (folder / "in a folder").mkdir(parents=True)
    for number in range(20):
        (folder / "in a folder" / f"#{number} [ä].txt").write_text(story[number])
    (folder / "mac.md").write_bytes(story[20].encode("utf-16"))
    rows = [{"text": text, "n": number} for number, text in enumerate(story[21:])]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows[:20])
    (folder / "lines.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "array.json").write_text(json.dumps(rows[20:30], indent=1))
    table = "".join(f"{row['n']};{row['text']}\n" for row in rows[30:])
    (folder / "excel.csv").write_text(f"\ufeffn;text\n{table}")
    (folder / ".secret").write_text("not to be pushed")
    (folder / "link.txt").symlink_to(folder / "mac.md")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A folder with the recipes, made small, and the texts; its Hub runs."""
    folder = tmp_path_factory.mktemp("fresh")
    write_texts(folder / "my-texts")
    shutil.copytree(ROOT / "accelerate_configs", folder / "accelerate_configs")
    shutil.copytree(ROOT / "recipes" / "own-text", folder / "recipes" / "own-text")
    for path in (folder / "recipes" / "own-text").glob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(values | SMALLER[values["stage"]], sort_keys=False))
    made = Workplace(folder / ".moxin", folder / "recipes" / "mine")
    with serving(made), made.warmed(folder) as warm:
        yield warm


def run(place: Workplace, command: str) -> subprocess.CompletedProcess[str]:
    """A command as it stands in the page, in the fresh folder."""
    name, *words = shlex.split(command)
    if name == "moxin":
        return place.moxin(*words)
    folder = place.home.parent
    return subprocess.run([name, *words], cwd=folder, capture_output=True, text=True, check=True)


def test_the_six_commands_of_the_page(place: Workplace) -> None:
    copy, check, ladder, status, go_on, ask = commands()
    run(place, copy)
    checked = run(place, check)
    assert checked.returncode == 0, checked.stderr
    [line] = [line for line in checked.stderr.splitlines() if "my-texts →" in line]
    assert re.search(r"24 files, [\d,]+ bytes; left out, hidden or links: .secret, link.txt", line)
    assert line.endswith("would be pushed")
    assert place.moxin("hub", "ls").stdout == ""

    done = run(place, ladder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.index("pushing my-texts → local/own-") < done.stderr.index("00-data")
    [line] = [line for line in run(place, check).stderr.splitlines() if "my-texts →" in line]
    assert line.endswith("is there already")
    shown = run(place, status).stdout
    assert all(stage in shown for stage in ("00-data", "10-init", "20-pretrain", "30-sft"))
    assert shown.count("own-text-") == 4
    again = run(place, ladder)
    assert again.stderr.count("done already") == 4
    assert "pushing my-texts" not in again.stderr

    said = run(place, go_on)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Once upon a time")
    answer = run(place, ask)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()
    assert "What is" not in answer.stdout


def test_every_text_is_in_the_corpus_once_with_its_place(place: Workplace) -> None:
    listed = place.moxin("hub", "ls").stdout.splitlines()
    assert len([line for line in listed if "local/own-my-texts-" in line]) == 1
    manifests = list((place.home / "runs" / "mine" / "00-data").rglob("moxin.json"))
    counts = {path.parent.name: json.loads(path.read_text()) for path in manifests}
    corpus = counts["hub_corpus_id"]
    assert corpus["counts"]["own/kept"] == 60
    assert not [name for name in corpus["counts"] if name.startswith("own/") and "kept" not in name]
    [parent] = corpus["parents"]
    assert parent["repo"].startswith("local/own-my-texts-")
    assert len(parent["commit"]) == 40


def test_what_a_changed_file_decides_is_made_again(place: Workplace) -> None:
    file = place.home.parent / "my-texts" / "mac.md"
    before = file.read_bytes()
    file.write_text("Another text, of which nothing was in the corpus before. " * 9)
    status = place.moxin("status", str(place.ladder), "--json", "--hub", "local")
    assert {row["state"] for row in json.loads(status.stdout)} != {"done"}
    file.write_bytes(b"\xff\xfe\xff")  # no UTF-16, and others can be read
    checked = place.moxin("check", str(place.ladder), "--hub", "local")
    assert "mac.md, from byte 2 on: invalid utf-16-le" in checked.stderr
    assert checked.returncode == 0
    (file.parent / "letter.docx").write_bytes(b"PK")
    for command in ("check", "run"):
        refused = place.moxin(command, str(place.ladder), "--hub", "local")
        assert refused.returncode == 1
        assert "letter.docx: not a kind that is read (read are .txt, .md" in refused.stderr
        assert refused.stderr.splitlines()[-1].startswith(
            f"error: {place.ladder}/00-data.yaml: `so"
        )
    (file.parent / "letter.docx").unlink()
    file.write_bytes(before)
    again = place.moxin("run", str(place.ladder), "--hub", "local")
    assert again.stderr.count("done already") == 4

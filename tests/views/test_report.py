"""`moxin report` of the miniature ladder: done, half done, and with nothing of it on the Hub."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from tests.conftest import ROOT, Workplace

SECTIONS = [
    "At a glance",
    "Lineage",
    "Loss and bits per byte",
    "Reward and accuracy",
    "Scores",
    "Data",
    "Time and cost",
    "Plan and result",
]


def report(place: Workplace, ladder: Path, out: Path) -> str:
    done = place.moxin("report", str(ladder), "--hub", "local", "--out", str(out))
    assert (done.returncode, done.stdout) == (0, f"report: {out}\n"), done.stderr[-2000:]
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the whole ladder."""
    return report(finished, finished.ladder, tmp_path_factory.mktemp("report") / "sub" / "a.html")


def headings(text: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]+)</h2>", text)


def changed(place: Workplace, folder: Path, stage: str, **values: Any) -> Path:
    """A copy of the ladder, one recipe of which has other values."""
    ladder = shutil.copytree(place.ladder, folder / "mini")
    path = ladder / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))
    return ladder


def test_every_section_is_there_with_numbers_of_the_hub(page: str, finished: Workplace) -> None:
    assert headings(page) == SECTIONS
    assert 'class="quiet">No ' not in page
    assert "Not done yet" not in page
    assert ">12 of 12</dd>" in page
    status = finished.moxin("status", str(finished.ladder), "--hub", "local", "--json")
    rows = {row["stage"]: row for row in json.loads(status.stdout)}
    for name in ("10-init", "22-pretrain-enhance"):
        bits = f'<td>{name}</td><td class="number">{rows[name]["metrics"]["bits_per_byte"]:.4f}'
        assert bits in page
    for row in rows.values():
        assert row["commit"] in page
    grpo = f"{rows['42-grpo']['tokens']:,}"
    assert page.count(f">{grpo}<") == 2  # its cost, and beside its plan
    for told in ("42-grpo: mean reward", "What each phase read", "Held-out problems, before"):
        assert f"<figcaption>{told}" in page
    # What was read of a source, kept or not: 2 of 26 texts were too short, as the corpus says.
    assert re.search(r"<td>pydoc-topics</td><td>short</td><td class=\"number\">\d+</td>", page)


def test_the_page_needs_nothing_beside_it_and_tells_nothing_of_this_machine(
    page: str, finished: Workplace
) -> None:
    assert "://" not in page
    assert "<script" not in page
    assert "javascript:" not in page
    assert re.findall(r'\b(?:src|href)="(?!#|data:,")[^"]*"', page) == []
    assert re.findall(r"url\((?!#)", page) == []
    folder = str(finished.home.parent.parent)  # of all that pytest writes
    for local in (folder, str(ROOT), str(Path.home()) + "/", "hf_not_real"):
        assert local not in page
    token = (finished.home / "hub" / "token").read_text().strip()
    assert token
    assert token not in page


def test_its_pictures_are_xml_with_names_and_descriptions(page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawn) == page.count("<figure>") >= 15
    for one in drawn:
        parsed = ElementTree.fromstring(one)  # noqa: S314 (it is ours)
        assert parsed.get("role") == "img"
        assert len(parsed.findtext("title") or "") > 3
        assert len(parsed.findtext("desc") or "") > 10
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    told = [
        name for names in re.findall(r'aria-labelledby="([^"]+)"', page) for name in names.split()
    ]
    links = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert set(told) | set(links) <= set(ids)


def test_it_can_be_read_by_keyboard_in_the_dark_and_on_a_telephone(page: str) -> None:
    """As far as the text of the page tells; `make look` shows pages to people."""
    assert '<html lang="en">' in page
    assert 'content="width=device-width, initial-scale=1"' in page
    assert page.index('class="skip" href="#at-a-glance"') < page.index("<nav")
    assert "prefers-color-scheme: dark" in page
    tables = page.count("<table>")
    assert tables == page.count('<div class="scroll" tabindex="0" role="region" aria-label="') > 8
    assert page.count("<details>") == page.count("<summary>") >= 3
    assert not re.search(r"<(svg|table|figure|div|section)[^>]* width=", page)


def test_the_same_manifests_give_the_same_bytes(
    page: str, finished: Workplace, tmp_path: Path
) -> None:
    assert report(finished, finished.ladder, tmp_path / "again.html") == page


def test_a_ladder_that_is_half_done_says_what_is_missing(
    finished: Workplace, tmp_path: Path
) -> None:
    ladder = changed(finished, tmp_path, "31-dpo", learning_rate=1e-6)
    text = report(finished, ladder, tmp_path / "half.html")
    assert headings(text) == SECTIONS
    assert ">Not done yet: 31-dpo.<" in text  # what follows it is of the tags that are there
    assert ">11 of 12</dd>" in text
    assert "31-dpo: " not in re.sub(r"<desc.*?</desc>", "", text)
    assert "30-sft: accuracy" in text


def test_a_ladder_of_which_nothing_is_there_has_its_sections(
    finished: Workplace, tmp_path: Path
) -> None:
    ladder = changed(finished, tmp_path, "00-data", seed=7)
    for path in ladder.glob("*.yaml"):
        if path.stem != "00-data":
            path.unlink()
    text = report(finished, ladder, tmp_path / "none.html")
    assert headings(text) == SECTIONS
    assert "Not done yet: 00-data." in text
    assert "<svg" not in text
    assert "<table" not in text
    assert text.count('<p class="quiet">No ') == len(SECTIONS)


def test_what_cannot_be_read_or_written_is_one_line(finished: Workplace, tmp_path: Path) -> None:
    nowhere, folder = str(tmp_path / "nowhere"), str(tmp_path)
    for words, line in (
        ((nowhere,), f"error: {nowhere}: no recipes there (files such as 30-sft.yaml)\n"),
        (
            (str(finished.ladder), "--out", folder),
            f"error: --out {folder}: Is a directory; name a file to write\n",
        ),
    ):
        done = finished.moxin("report", *words, "--hub", "local")
        assert (done.returncode, done.stderr.splitlines(keepends=True)[-1:]) == (1, [line])
        assert "Traceback" not in done.stderr


def test_the_run_ended_with_the_same_picture(finished: Workplace) -> None:
    picture = finished.home / "report" / "mini.png"
    assert f"picture: {picture}" in (finished.home / "first-run.txt").read_text()
    assert picture.read_bytes()[:4] == b"\x89PNG"

"""What the pages point to is there: links, headings, files, commands and keys that they name."""

import functools
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT
from tests.docs import pages
from tests.docs.rules import words

from moxin_recipes import cli
from moxin_recipes.recipe import trainers
from moxin_recipes.recipe.keys import keys_of, stages
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError

PACKAGE = ROOT / "src" / "moxin_recipes"
EACH = pytest.mark.parametrize("page", pages.PAGES)


@EACH
def test_links_lead_to_a_file_and_a_heading(page: str) -> None:
    for path, anchor in pages.links(page):
        assert path.exists(), f"{path} is not there"
        assert not anchor or anchor in pages.anchors(path), f"{path} has no heading {anchor}"


@EACH
def test_blocks_say_what_they_are(page: str) -> None:
    for language, block in pages.blocks(page):
        assert language in ("sh", "text", "yaml"), block
        if language == "text":
            assert not [line for line in block.splitlines() if pages.is_command(line)]


@EACH
def test_files_of_the_repository_are_there(page: str) -> None:
    in_trees = [
        name
        for language, block in pages.blocks(page)
        if language == "text"
        for name in re.findall(r"^ *([\w./]+(?:/|\.py)) ", block, re.M)
    ]
    for name in [*pages.spans(page), *in_trees]:
        assert not is_of_here(name) or there(name), f"{name} is not there"


def is_of_here(name: str) -> bool:
    """Whether it can only be a file or a folder of the repository; capitals stand for a name."""
    made_on_the_page = name.startswith("recipes/mine/")
    if made_on_the_page or not re.fullmatch(r"[a-z0-9_][a-z0-9_.*/-]+", name):
        return False
    if "/" not in name:
        return name.endswith(".py")
    first = name.split("/")[0]
    return (ROOT / first).is_dir() or (PACKAGE / first).is_dir()


def there(name: str) -> bool:
    """Whether the repository has it, by its path or its name alone."""
    name = name.rstrip("/")
    found = [next(base.glob(name), None) for base in (ROOT, PACKAGE)]
    return any(found) or ("/" not in name and name in names())


@functools.cache
def names() -> set[str]:
    """Names of all files and folders of the sources."""
    return {path.name for path in PACKAGE.rglob("*")} | {path.name for path in ROOT.iterdir()}


@EACH
def test_commands_in_the_text_have_their_options(
    page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in pages.mentions(page):
        program, *rest = words(command.replace("…", ""))
        if program == "moxin":
            named = rest[: 2 if rest[0] == "hub" else 1]
            with pytest.raises(SystemExit) as ended:
                cli.parser().parse_args([*named, "--help"])
            said = capsys.readouterr().out
            assert ended.value.code == 0, command
            assert {word for word in rest if word.startswith("--")} <= set(
                re.findall(r"--[\w-]+", said)
            ), command
        elif program == "python":
            assert rest[0] == "-m", command
            folder = ROOT / "src" if rest[1].startswith("moxin") else ROOT
            module = folder / rest[1].replace(".", "/")
            assert module.is_dir() or module.with_suffix(".py").is_file(), command
            if rest[1] == "bench" and len(rest) > 2:
                assert (ROOT / "bench" / f"{rest[2]}.py").is_file(), command
        elif program == "make":
            assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(), command


@EACH
def test_a_recipe_takes_the_keys_of_a_block(page: str, tmp_path: Path) -> None:
    for language, block in pages.blocks(page):
        if language == "yaml":
            ladder = tmp_path / "ladder"
            shutil.copytree(ROOT / "recipes" / "moxin-7b", ladder, dirs_exist_ok=True)
            said = [refusal(path, yaml.safe_load(block)) for path in sorted(ladder.glob("*.yaml"))]
            assert None in said, (block, said)


def refusal(path: Path, values: dict[str, object]) -> str | None:
    """Why a recipe does not take the values; None where it does."""
    changed = path.with_name("99-changed.yaml")
    changed.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))
    try:
        trainers.check_names(read(changed))
    except RecipeError as error:
        return str(error)
    finally:
        changed.unlink()
    return None


@EACH
def test_keys_that_the_text_names_are_known(page: str) -> None:
    named = (re.fullmatch(r"([a-z_]+): .+", span) for span in pages.spans(page))
    assert {found[1] for found in named if found} <= known(), page


@functools.cache
def known() -> set[str]:
    """Keys of recipes, of ours and of the libraries; of launchers' files; reasons of removals."""
    found = {"contaminated", "url"}
    for stage in stages():
        for kind in trainers.classes(keys_of(stage).libraries):
            found |= set(kind.__dataclass_fields__)
    for path in [*PACKAGE.glob("recipe/**/*.py"), *ROOT.glob("accelerate_configs/*.yaml")]:
        found |= set(re.findall(r"^ *\"?([a-z_]+)\"?: ", path.read_text(), re.M))
    return found | {"extends"}


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    for name in ("scores/nothing.py", "nothing.py", "recipes/moxin-8b/", "tests/hub/*.md"):
        assert is_of_here(name)
        assert not there(name)
    page = tmp_path / "page.md"
    page.write_text("# A `key` of [one](other.md), twice\n```sh\n# no heading\n```\n")
    assert pages.anchors(page) == {"a-key-of-one-twice"}
    assert "puplish" not in known()
    sft = ROOT / "recipes" / "moxin-nano" / "30-sft.yaml"
    shutil.copy(sft, tmp_path)
    assert refusal(tmp_path / sft.name, {"seed": 3}) is None
    assert "unknown key `sede`" in (refusal(tmp_path / sft.name, {"sede": 3}) or "")

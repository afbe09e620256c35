"""No secret gets into a recipe, the address of a Hub, or a list of links; nor into the error."""

import subprocess
import sys
from pathlib import Path

import pytest

from moxin_recipes import environment, secrecy
from moxin_recipes.audit import alive
from moxin_recipes.hub.mirror import End
from moxin_recipes.hub.session import HubError
from moxin_recipes.recipe.reading import read
from moxin_recipes.recipe.strict import RecipeError
from tests.conftest import ROOT

RECIPE = ROOT / "recipes" / "moxin-nano" / "40-distill.yaml"
ADDRESSES = [
    "https://me:geheim@host/v1",
    "https://geheim@host/v1",
    "HTTPS://me:geheim@host:8443/v1",
    "https://host/v1?api_key=geheim",
    "https://host/v1#geheim",
    "https://host\\@geheim/v1",
    "https://geheim@[::1]/v1",
    "//me:geheim@host/v1",
    " https://me:g@host/v1 ",
]
BARE = ["http://127.0.0.1:8000/v1", "https://host/@me/v1", "http://[::1]:80/v1", "https://host"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("key", ["base_url", "vllm_server_base_url", "system_prompt"])
def test_a_recipe_with_the_address_of_a_secret(address: str, key: str) -> None:
    with pytest.raises(RecipeError, match=f"`{key}`: it holds what looks like a secret") as no:
        read(RECIPE, [f"--{key}", f"{address!r}"])
    assert "geheim" not in str(no.value)


@pytest.mark.parametrize("address", BARE)
def test_a_recipe_with_an_address(address: str) -> None:
    assert read(RECIPE, ["--base_url", address]).values["base_url"] == address


@pytest.mark.parametrize("address", ["host/v1", "me:geheim@host/v1", "file:///v1"])
def test_a_teacher_is_asked_by_http(address: str) -> None:
    with pytest.raises(RecipeError, match="`base_url`") as no:
        read(RECIPE, ["--base_url", address]).keys.check()
    assert "geheim" not in str(no.value)


def test_a_secret_anywhere_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "plainwords")
    for text in ("hf_" + "aB3" * 12, "x plainwords y", "to https://h/v1?token=" + "0123456789"):
        path = tmp_path / "40-distill.yaml"
        path.write_text(RECIPE.read_text() + f"traces: [{{dataset: a/b, layout: '{text}'}}]\n")
        with pytest.raises(RecipeError, match=r"`traces\[0\]\.layout`: it holds") as no:
            read(path)
        assert text not in str(no.value)
    monkeypatch.setenv("MY_TOKENIZER", "mistralai/x")
    assert secrecy.in_values({"a": ["mistralai/x", 1, None, {"b": "tokens of //, and a?"}]}) is None


@pytest.mark.parametrize("variable", ["MOXIN_HUB", "HF_ENDPOINT"])
@pytest.mark.parametrize("address", [*ADDRESSES, "me:geheim@host"])
def test_the_address_of_a_hub(address: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOXIN_HUB", "HF_ENDPOINT", *environment.variables_of(environment.home())):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, address)
    monkeypatch.setitem(environment._CALLERS, "HF_ENDPOINT", None)
    with pytest.raises(SystemExit, match=r"the Hub's address .* give it without") as no:
        environment.choose()
    assert "geheim" not in str(no.value)


def test_commands_with_the_address_of_a_secret() -> None:
    command = [str(Path(sys.executable).parent / "moxin")]
    for words in (
        ("verify", "a/b", "--hub", "https://me:geheim@host"),
        ("hub", "mirror", "--from", "https://me:geheim@host", "--to", "local"),
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "a user, a password or a query" in line or "no user, no password" in line
        assert "geheim" not in line


@pytest.mark.parametrize("address", ADDRESSES[:7])
def test_an_end_of_a_mirror(address: str) -> None:
    with pytest.raises(HubError, match="no user, no password and no query") as no:
        End.named(address, "MOXIN_NO_TOKEN")
    assert "geheim" not in str(no.value)


def test_a_list_of_links(tmp_path: Path) -> None:
    path = tmp_path / "links"
    for link in ("https://me:geheim@host/x", "http://geheim@host", "https://h/?key=geheim0123"):
        path.write_text(f"https://host/x?page=2#y\n{link}\n")
        with pytest.raises(RecipeError, match="a link holds a user or what looks like") as no:
            alive.links(path)
        assert "geheim" not in str(no.value)
    path.write_text("https://host/x?page=2#y\nhttps://host/@me\n")
    assert len(alive.links(path)) == 2

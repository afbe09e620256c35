"""What a manifest says of the code: address, commit, and a patch that `git apply` takes."""

import base64
import subprocess
from pathlib import Path

import pytest
from tests.conftest import ROOT

from moxin_recipes import secrecy
from moxin_recipes.hub import code
from moxin_recipes.recipe.strict import RecipeError


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    command = ["git", *author, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    top = tmp_path / "checkout"
    for name in ("src/a.py", "src/gone.py", "recipes/x.yaml", "docs/page.md"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"# {name}\n" * 20)
    (top / ".gitignore").write_text("*.log\n")
    git(top, "init", "--quiet")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "-m", "first")
    return top


def content(top: Path) -> dict[str, bytes]:
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for name in ("src", "recipes")
        for path in sorted((top / name).rglob("*"))
        if path.is_file() and path.suffix != ".log"
    }


def test_a_clean_checkout_has_no_patch(checkout: Path) -> None:
    (checkout / "docs" / "page.md").write_text("other words, which decide nothing")
    (checkout / "notes.txt").write_text("beside the code")
    (checkout / "src" / "run.log").write_text("ignored")
    assert code.patch(checkout) == ""


def test_a_patch_makes_the_same_tree_of_a_fresh_clone(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "config", "diff.noprefix", "true")
    git(checkout, "config", "color.ui", "always")
    (checkout / "src" / "a.py").write_text("x = 1\r\ny = 'ü'")  # no line end
    (checkout / "src" / "gone.py").unlink()
    (checkout / "src" / "weights.bin").write_bytes(bytes(range(256)) * 20)
    (checkout / "src" / "new folder").mkdir()
    (checkout / "src" / "new folder" / "ä b.py").write_text("z = 2\n")
    (checkout / "src" / "empty.py").touch()
    (checkout / "recipes" / "y.yaml").write_text("stage: sft\n")
    git(checkout, "add", "recipes/y.yaml")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(checkout), str(clone))
    assert content(clone) != content(checkout)
    (tmp_path / "patch").write_bytes(code.patch(checkout).encode())
    git(clone, "apply", str(tmp_path / "patch"))
    assert content(clone) == content(checkout)


SECRETS = {
    "a token of the Hub": "TOKEN = 'hf_" + "aB3" * 12 + "'",
    "a token of a forge": "x: gh" + "p_" + "a1B2" * 9,
    "a key of a cloud": "AK" + "IA" + "ABCDEFGHIJKLMNOP",
    "a private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "a password in an address": "url = 'https://me:" + "s3cret@host/x'",
    "a named secret": "api_" + 'key = "' + "0123456789abcdef" * 2 + '"',
    "a value in a file of settings": "wandb_api_" + "key: 0123456789abcdef0123456789",
    "a value in a script": "export AWS_SECRET_ACCESS_" + "KEY=abcdEFGH0123456789abcd",
    "a header": '"Authorization": "Bea' + 'rer abcdefghijklmnop0123"',
    "a token of no known form": "TOKEN_" + 'PROD = "abcdefgh-ijklmnop"',
    "a token in settings": "hub_to" + "ken: abcdefgh0123456789",
    "a file of a machine": "machine host login me pass" + "word geheim",
    "a short password": 'db_pass' + 'word = "hunter2hunter2"',
    "a web token": "eyJ" + base64.b64encode(b"x" * 30).decode().rstrip("=") + ".eyJ" + "a" * 20
    + "." + "b" * 20,
}  # fmt: skip


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_never_recorded(checkout: Path, kind: str) -> None:
    for name in ("src/a.py", "recipes/new.yaml"):
        path = checkout / name
        before = path.read_text() if path.exists() else None
        path.write_text(f"fine = 1\n{SECRETS[kind]}\n")
        with pytest.raises(RecipeError, match="holds what looks like a secret; take it out") as no:
            code.patch(checkout)
        assert name in str(no.value)
        assert SECRETS[kind] not in str(no.value)
        path.unlink() if before is None else path.write_text(before)
    assert code.patch(checkout) == ""


def test_nor_the_tokens_at_hand_nor_files_that_hold_them(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOXIN_TEACHER_TOKEN", "plainwords")
    (checkout / "src" / "a.py").write_text("# plainwords\n")
    with pytest.raises(RecipeError, match=r"src/a\.py is changed"):
        code.patch(checkout)
    (checkout / "src" / "a.py").write_bytes(b"\0\1plainwords\0")
    with pytest.raises(RecipeError, match=r"src/a\.py is changed"):
        code.patch(checkout)
    monkeypatch.delenv("MOXIN_TEACHER_TOKEN")
    for name in (".env", "id_ed25519", "server.pem"):
        (checkout / "src" / name).write_text("x\n")
        with pytest.raises(RecipeError, match=f"src/{name} is changed"):
            code.patch(checkout)
        (checkout / "src" / name).unlink()


def test_what_only_looks_like_one(checkout: Path) -> None:
    lines = [
        "token = self.tokenizer.token_of_the_end_of_a_turn",
        'token = "<|im_end|>"',
        "password: str | None = None",
        "api_key=os.environ.get(TOKEN)",
        "secret = hashlib.sha256(text.encode()).hexdigest()",
        "max_new_tokens: 1024",
        "# see https://docs/page@v2",
        "tokenizer_name_or_path: HuggingFaceTB/SmolLM2-135M",
        "tokenizer_name_or_path: moxin-nano-tokenizer2",
        "hub_tokens_id: moxin-nano-tokens2",
        "token_cache_dir: /disk1/cache/of/tokens",
        "pad_token='[PAD_TOKEN_0]'",
        "pad_token: endoftext0123456789",
        'end_of_a_turn_token = "[END_OF_TURN_0]"',
        'TOKEN = "MOXIN_TEACHER_TOKEN"',
    ]
    (checkout / "src" / "a.py").write_text("\n".join(lines))
    assert "im_end" in code.patch(checkout)


def test_each_line_of_this_checkout_may_be_edited() -> None:
    files = [path for name in ("src", "recipes") for path in (ROOT / name).rglob("*.*")]
    texts = [path for path in files if path.suffix in (".py", ".yaml", ".md", ".jinja")]
    assert len(texts) > 100
    refused = [
        f"{path}: {line}"
        for path in texts
        for line in path.read_text(encoding="utf-8").splitlines()
        if secrecy.in_code(f"+{line}")
    ]
    assert refused == []


@pytest.mark.parametrize("kind", ["a repository", "a link"])
def test_what_a_patch_cannot_hold_is_one_line(checkout: Path, kind: str) -> None:
    inside = checkout / "src" / "inside"
    if kind == "a link":
        inside.symlink_to(checkout.parent)
    else:
        inside.mkdir()
        (inside / "x.py").write_text("x = 1\n")
        git(inside, "init", "--quiet")
        git(inside, "add", ".")
        git(inside, "commit", "--quiet", "-m", "x")
    with pytest.raises(RecipeError, match=r"src/inside/?: a repository or a link that no commit"):
        code.patch(checkout)


@pytest.mark.parametrize("lines", [1, 40_000])
def test_a_large_change_is_one_line(checkout: Path, lines: int) -> None:
    text = ("word " * 1_100_000)[: 1_100_000 // lines] + "\n"
    (checkout / "src" / "large.txt").write_text(text * lines)
    with pytest.raises(RecipeError, match="more than 1,000,000 bytes, and a result records it"):
        code.patch(checkout)


def test_what_is_no_text_is_one_line(checkout: Path) -> None:
    (checkout / "src" / "a.py").write_bytes(b"name = '\xe9'\n")
    with pytest.raises(RecipeError, match="is not all UTF-8, and a result records it: commit it"):
        code.patch(checkout)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host/o/r.git", "https://host/o/r.git"),
        ("https://me:word@host:8443/o/r", "https://host:8443/o/r"),
        ("https://token@host/o/r?key=x#y", "https://host/o/r"),
        ("ssh://git@host/o/r", "ssh://git@host/o/r"),
        ("ssh://me:word@host/o/r", "ssh://host/o/r"),
        ("git@host:o/r.git", "git@host:o/r.git"),
        ("/home/me/r", None),
        ("file:///home/me/r", None),
        ("../r", None),
        ("", None),
        ("https://h:abc/x", None),
        ("alice@server:repos/x", None),
        ("ssh://alice@host/home/alice/r.git", "ssh://host/home/alice/r.git"),
    ],
)
def test_an_address_names_no_user_and_no_folder(address: str, said: str | None) -> None:
    assert code.public(address) == said


def test_this_code() -> None:
    found = code.code()
    assert set(found) == {"version", "commit", "address", "patch"}
    top = Path(__file__).parent.parent.parent
    assert found["commit"] == git(top, "rev-parse", "HEAD").strip()

"""Local sources: what is read, what is left out, and that the order never changes."""

import importlib.metadata
from collections import Counter
from pathlib import Path

import pytest

from moxin_recipes.documents import local_text


@pytest.mark.parametrize("name", sorted(local_text.SOURCES))
def test_every_source_yields_labelled_text_in_a_fixed_order(name: str) -> None:
    documents = list(local_text.SOURCES[name]())
    assert documents == list(local_text.SOURCES[name]())
    assert len(documents) >= 10
    for document in documents:
        assert set(document) - {"group"} == {"text", "source", "license", "origin"}
        assert document["source"] == name
        assert document["text"].strip()
        assert document["license"]
    origins = [document["origin"] for document in documents]
    assert len(set(origins)) == len(origins)


def test_stdlib_code_leaves_out_tests_and_installed_packages() -> None:
    origins = {document["origin"] for document in local_text.stdlib_code()}
    assert "json/decoder.py" in origins
    assert not any(
        local_text.EXCLUDED_FOLDERS.intersection(Path(origin).parts) for origin in origins
    )


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text('"""Says hello."""\n')
    (tmp_path / "broken.py").write_text("def :\n")
    (tmp_path / "blank.py").write_text("\n\n")
    (tmp_path / "latin.py").write_bytes(b"name = '\xe9'\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "hidden.py").write_text("x = 1\n")
    skipped: Counter[str] = Counter()
    code = [document["origin"] for document in local_text.stdlib_code(tmp_path, skipped)]
    assert code == ["broken.py", "good.py"]
    assert skipped == {"empty": 1, "undecodable": 1}
    skipped.clear()
    found = list(local_text.stdlib_docstrings(tmp_path, skipped))
    assert [document["text"] for document in found] == ["Says hello."]
    assert skipped == {"empty": 1, "undecodable": 1, "unparsable": 1}


def test_docstrings_come_with_the_names_they_belong_to(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        '"""Top."""\nclass A:\n    """About A."""\n    def f(self):\n        """About f."""\n'
    )
    (document,) = local_text.stdlib_docstrings(tmp_path)
    assert document["text"] == "Top.\n\nA\nAbout A.\n\nf\nAbout f."


def test_readmes_carry_the_licence_that_their_package_declares() -> None:
    licenses = {
        document["origin"].split()[0].lower(): document["license"]
        for document in local_text.package_readmes()
    }
    assert "MIT" in licenses["pytest"]
    assert importlib.metadata.version("moxin-recipes")  # installed as the others
    assert "moxin-recipes" not in licenses  # its README would change what it reports
    assert sum(value != "unknown" for value in licenses.values()) > len(licenses) / 2

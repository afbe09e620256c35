"""Licences: taken as declared, inherited from every parent, never invented."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from test_push_and_pull import MANIFEST

from moxin_recipes.hub import licences, session
from moxin_recipes.hub.cards import render
from moxin_recipes.hub.licences import Part
from moxin_recipes.hub.pull import resolve
from moxin_recipes.recipe.fields import Reference


@pytest.mark.parametrize(
    ("declared", "name", "barrier"),
    [
        ("MIT License", "MIT", ""),
        ("mit", "MIT", ""),
        ("Apache License, Version 2.0", "Apache-2.0", ""),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0", ""),
        (["mit", "cc-by-4.0"], "MIT AND cc-by-4.0", ""),
        ("GNU Lesser General Public License v3", "GNU Lesser General Public License v3", ""),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "non-commercial"),
        ("CC BY-NC-SA 4.0", "CC BY-NC-SA 4.0", "non-commercial"),
        ("Creative Commons Attribution Non Commercial", None, "non-commercial"),
        ("noncommercial use only", "noncommercial use only", "non-commercial"),
        ("For research purposes", "For research purposes", "non-commercial"),
        (["apache-2.0", "cc-by-nc-4.0"], "Apache-2.0 AND cc-by-nc-4.0", "non-commercial"),
        (None, "unknown", "not known"),
        ("", "unknown", "not known"),
        ([], "unknown", "not known"),
        (" UNKNOWN ", "unknown", "not known"),
        ("Other/Proprietary License", "unknown", "not known"),
        ("other", "unknown", "not known"),
        ("NOASSERTION", "unknown", "not known"),
        ("All rights reserved", "unknown", "not known"),
        (["mit", "other"], "MIT AND unknown", "not known"),
        (["mit", None], "MIT AND unknown", "not known"),
        ({"name": "mit"}, "unknown", "not known"),
        ("CC_BY_NC_4.0", "CC_BY_NC_4.0", "non-commercial"),
        ("cc-by-nc4.0", "cc-by-nc4.0", "non-commercial"),
        ("Cc-By-Nc-Sa-4.0", "Cc-By-Nc-Sa-4.0", "non-commercial"),
        ("CC-BYNC-4.0", "CC-BYNC-4.0", "non-commercial"),
        ("CC BY-NCSA 4.0", "CC BY-NCSA 4.0", "non-commercial"),
        (["mit", ["CC-BY-NC-4.0"]], "CC-BY-NC-4.0 AND MIT", "non-commercial"),
        ("NCSA", "NCSA", ""),  # the University of Illinois's, which is open
        ("Free for personal use only", "Free for personal use only", "non-commercial"),
    ],
)
def test_a_declared_licence(declared: Any, name: str | None, barrier: str) -> None:
    part = Part(licences.named(declared), "a/b")
    assert part.license == (name or declared)
    assert part.barrier == barrier


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["MIT"], {"license": "mit"}),
        (["MIT", "MIT"], {"license": "mit"}),
        (["MIT", "GPL-3.0"], {"license": "other", "license_name": "several"}),
        (["MIT", "unknown"], {"license": "other", "license_name": "several"}),
        (["unknown"], {"license": "unknown"}),
        ([], {"license": "unknown"}),
        (["PSF-2.0"], {"license": "other", "license_name": "as-stated"}),
        (["MIT OR Apache-2.0"], {"license": "other", "license_name": "as-stated"}),
    ],
)
def test_what_a_card_says(names: list[str], expected: dict[str, str], tmp_path: Path) -> None:
    parts = [{"license": name, "of": f"part {place}"} for place, name in enumerate(names)]
    manifest = {**MANIFEST, "licenses": parts, "payload": "p"}
    text = render("me/x", "model", manifest, tmp_path)
    data = ModelCard(text).data.to_dict()
    assert {name: data[name] for name in expected} == expected
    assert ("license_link" in data) == (expected["license"] == "other")
    for part in parts:
        assert f"| {part['of']} | {part['license']} |" in text
    assert ("Nothing is known of the licence" in text) == (not parts)


def test_a_card_names_each_part_once(tmp_path: Path) -> None:
    names = ("ODC-By", "MIT", "CC-BY-NC-4.0")
    parts = [{"license": name, "of": "the source web"} for name in names]
    manifest = {**MANIFEST, "licenses": parts, "payload": "p"}
    line = "| the source web | CC-BY-NC-4.0 (non-commercial); MIT; ODC-By |\n"
    assert line in render("me/x", "model", manifest, tmp_path)
    of_release = {"stage": "release", "release": {"licenses": parts}, "licenses": []}
    assert line in render("me/x", "model", manifest | of_release, tmp_path)


def card(**metadata: Any) -> bytes:
    return f"---\n{yaml.safe_dump(metadata)}---\n# A card\n".encode()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("one", {"README.md": card(license="cc-by-nc-4.0")}, [("cc-by-nc-4.0", "ours")]),
        ("two", {"README.md": card(license=["mit", "odc-by"])}, [("MIT AND odc-by", "ours")]),
        (
            "named",
            {"README.md": card(license="other", license_name="llama3")},
            [("llama3", "ours")],
        ),
        ("none", {"README.md": card(tags=["x"])}, [("unknown", "ours")]),
        ("bare", {"README.md": b"# no metadata"}, [("unknown", "ours")]),
        ("no-card", {"data.txt": b"x"}, [("unknown", "ours")]),
        # A manifest of a time when the card invented a licence says nothing of it.
        (
            "before",
            {"README.md": card(license="apache-2.0"), "moxin.json": b'{"payload": "p"}'},
            [("unknown", "ours")],
        ),
        (
            "made",
            {
                "README.md": card(license="other"),
                "moxin.json": json.dumps(
                    {"payload": "p", "licenses": [{"license": "MIT", "of": "the source web"}]}
                ).encode(),
            },
            [("MIT", "the source web")],
        ),
    ],
)
def test_the_parts_of_an_input(
    name: str, files: dict[str, bytes], expected: list[tuple[str, str]]
) -> None:
    hub = session.api()
    repo = hub.create_repo(f"local/licence-{name}", repo_type="dataset", exist_ok=True).repo_id
    for path, content in files.items():
        hub.upload_file(
            path_or_fileobj=content, path_in_repo=path, repo_id=repo, repo_type="dataset"
        )
    parent = resolve(Reference("dataset_name", "dataset", repo, "main"))
    parts = [(part.license, part.of) for part in licences.of_parent(parent)]
    place = f"{repo}@{parent.commit[:12]}"
    assert parts == [(one, place if of == "ours" else of) for one, of in expected]


NC = "https://creativecommons.org/licenses/by-nc/4.0"


@pytest.mark.parametrize(
    ("front", "name", "barrier"),
    [
        (f"license: other\nlicense_link: {NC}", NC, "non-commercial"),
        (
            f"license: Other\nlicense_name: ours\nlicense_link: {NC}",
            f"ours ({NC})",
            "non-commercial",
        ),
        (
            "license: other\nlicense_name: Ours-NC\nlicense_link: LICENSE",
            "Ours-NC",
            "non-commercial",
        ),
        ("license: other\nlicense_name: ours\nlicense_link: LICENSE", "ours", ""),
        ("license: other\nlicense_name: other", "unknown", "not known"),
        ("license: other\nlicense_link: [x]", "unknown", "not known"),
        ("license: [other]\nlicense_name: ours", "unknown", "not known"),
        ("- license\n- mit", "unknown", "not known"),
        ("license: [", "unknown", "not known"),
        ("just words", "unknown", "not known"),
    ],
)
def test_what_a_card_states(front: str, name: str, barrier: str) -> None:
    (part,) = licences.parts_of("a/b@1", None, f"---\n{front}\n---\n\n# x\n")
    assert (part.license, part.barrier) == (name, barrier)

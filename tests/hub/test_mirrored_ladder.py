"""A ladder on a mirrored Hub: other commits, the same payloads, so every stage is still done."""

import json
from pathlib import Path

import yaml
from tests.conftest import Workplace, serving
from tests.test_ladder import status

from moxin_hub import launcher


def test_a_mirrored_ladder_is_done_even_where_it_pins_commits_of_the_first_hub(
    finished: Workplace, tmp_path: Path
) -> None:
    """Through the API, as to the public Hub; its recipes then name commits that are not there."""
    before = status(finished)
    other = Workplace(tmp_path / "home", tmp_path / finished.ladder.name)
    source, target = (launcher.identity(place.home / "hub") for place in (finished, other))
    with serving(other):
        done = other.moxin(
            *("hub", "mirror", "--from", source.endpoint, "--to", target.endpoint),
            MOXIN_FROM_TOKEN=source.token,
            MOXIN_TO_TOKEN=target.token,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        known = json.loads((other.home / "mirror.json").read_text())
        other.ladder.mkdir()
        made = {(row["repo"], row["revision"]): row["commit"] for row in before.values()}
        pinned = 0
        for path in sorted(finished.ladder.glob("*.yaml")):
            values = yaml.safe_load(path.read_text())
            if isinstance(values, dict):
                for key in ("model_name_or_path", "dataset_name"):
                    repo, _, tag = str(values.get(key, "")).partition("@")
                    if (repo, tag) in made:
                        values[key] = f"{repo}@{made[repo, tag]}"
                        pinned += 1
            (other.ladder / path.name).write_text(yaml.safe_dump(values, sort_keys=False))
        assert pinned > 5
        after = status(other)
        done = other.moxin("verify", "moxin-nano-release", "--hub", "local")
        assert done.returncode == 0, done.stdout
        assert done.stdout.splitlines()[-1].endswith(" read: all is as it was")
        out = ("--out", str(tmp_path / "again"))
        done = other.moxin("replay", "moxin-nano-instruct@dpo", "--hub", "local", *out)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines()[-1].endswith(": bit-equal")
    assert {row["state"] for row in after.values()} == {"done"}
    commits = {old.rpartition("/")[2]: new.rpartition("/")[2] for old, new in known.items()}
    for stage, row in before.items():
        old, new = (f"{row['repo']}@{found['commit']}" for found in (row, after[stage]))
        assert old != new == commits[old]
        assert row["metrics"] == after[stage]["metrics"]

"""What a release pins is not moved; the refusal names what helps, however a stage is started."""

import json

import pytest

from moxin_recipes.hub import releases, session
from moxin_recipes.hub.session import HubError

OUTPUTS = {"hub_tokens_id": ("pins-tokens", "dataset"), "hub_model_id": ("pins-model", "model")}
CARD = f"---\ntags: [{releases.TAG}]\n---\n"


@pytest.mark.usefixtures("hub")
def test_the_key_of_what_is_pinned_is_named() -> None:
    api, release = session.api(), session.qualified("pins-release")
    for name, kind in (*OUTPUTS.values(), ("pins-release", "model")):
        api.create_repo(name, repo_type=kind)
    for name, kind in OUTPUTS.values():
        repo, text = session.qualified(name), name.encode()  # no two commits are the same
        api.upload_file(path_or_fileobj=text, path_in_repo="name.txt", repo_id=repo, repo_type=kind)
        for tag in ("sft", "done-1"):
            api.create_tag(repo, tag=tag, repo_type=kind)
    model = session.qualified("pins-model")
    commit = api.repo_info(model, revision="sft").sha
    for name, text in (("README.md", CARD), (releases.INDEX, json.dumps([{"commit": commit}]))):
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id=release)

    with pytest.raises(HubError) as caught:
        releases.prove_unpinned(OUTPUTS, "sft", "done-1")
    assert str(caught.value) == (
        f"{model}: the release {release} pins {str(commit)[:12]}, where the tag `sft` is; made "
        "again it would move: give `hub_model_id` another repository, `moxin run` another "
        "`--namespace`, or change what else the recipe says"
    )
    for tag, done in (("sft", "done-2"), ("dpo", "done-1")):
        releases.prove_unpinned(OUTPUTS, tag, done)
    elsewhere = OUTPUTS | {"hub_model_id": ("pins-another", "model")}  # as it says
    releases.prove_unpinned(elsewhere, "sft", "done-1")

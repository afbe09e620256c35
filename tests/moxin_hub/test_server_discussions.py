"""Pull requests and discussions, seen through huggingface_hub's own client."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError
from running_hub import Hub, add


def test_pull_requests(api: HfApi, repo: str) -> None:
    made = api.create_commit(repo, [add("x", "1")], commit_message="proposal", create_pr=True)
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert made.pr_url == f"{api.endpoint}/{repo}/discussions/1"
    assert api.file_exists(repo, "x", revision="refs/pr/1")
    assert not api.file_exists(repo, "x")
    draft = api.create_pull_request(repo, title="A draft", description="more to come")
    assert (draft.num, draft.is_pull_request, draft.status) == (2, True, "open")
    api.create_commit(repo, [add("y", "1")], commit_message="y", revision=draft.git_reference)
    assert api.file_exists(repo, "y", revision="refs/pr/2")
    refs = api.list_repo_refs(repo, include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests or []] == ["refs/pr/1", "refs/pr/2"]
    assert [found.num for found in api.get_repo_discussions(repo)] == [2, 1]
    api.super_squash_history(repo, branch="refs/pr/2")
    assert len(api.list_repo_commits(repo, revision="refs/pr/2")) == 1
    for nowhere in ("nowhere", str(api.model_info(repo).sha)):
        with pytest.raises(RevisionNotFoundError):
            api.create_commit(
                repo, [add("z", "1")], commit_message="z", revision=nowhere, create_pr=True
            )


def test_what_is_said_and_done(hub: Hub, api: HfApi, repo: str) -> None:
    talk = api.create_discussion(repo, title=" A question ", description="Why?")
    assert (talk.num, talk.title, talk.is_pull_request, talk.author) == (
        1,
        "A question",
        False,
        "local",
    )
    said = api.comment_discussion(repo, talk.num, "Because.")
    edited = api.edit_discussion_comment(repo, talk.num, said.id, "Because of this.")
    assert (edited.content, edited.edited) == ("Because of this.", True)
    with pytest.warns(UserWarning, match="irreversible"):
        assert api.hide_discussion_comment(repo, talk.num, said.id).hidden
    with pytest.raises(HfHubHTTPError, match="hidden for good"):
        api.edit_discussion_comment(repo, talk.num, said.id, "Because, again.")
    assert api.rename_discussion(repo, talk.num, "Solved").new_title == "Solved"
    assert api.change_discussion_status(repo, talk.num, "closed").new_status == "closed"
    found = api.get_discussion_details(repo, talk.num)
    assert (found.title, found.status, len(found.events)) == ("Solved", "closed", 4)
    assert "Because" not in str(hub.request("GET", f"/api/models/{repo}/discussions/1")[2])
    assert [d.num for d in api.get_repo_discussions(repo, discussion_status="open")] == []
    assert [d.num for d in api.get_repo_discussions(repo, discussion_type="discussion")] == [1]
    with pytest.raises(HfHubHTTPError, match="no such comment"):
        api.edit_discussion_comment(repo, talk.num, "0" * 24, "x")
    with pytest.raises(BadRequestError, match="Only an open pull request"):
        api.merge_pull_request(repo, talk.num)
    for number in range(60):
        api.create_discussion(repo, title=f"number {number}")
    assert len(list(api.get_repo_discussions(repo))) == 61  # two pages


def test_merging(api: HfApi, repo: str) -> None:
    start = [add("kept", "1"), add("gone", "1"), add("d/both", "1")]
    api.create_commit(repo, start, commit_message="start")
    changes = [add("d/new", "2"), CommitOperationDelete("gone"), add("d/both", "2")]
    good = api.create_commit(repo, changes, commit_message="good", create_pr=True)
    clash = api.create_commit(repo, [add("d/both", "3")], commit_message="clash", create_pr=True)
    on_main = api.create_commit(repo, [add("kept", "2")], commit_message="meanwhile").oid
    api.merge_pull_request(repo, good.pr_num or 0)
    files = set(api.list_repo_files(repo))
    assert files == {".gitattributes", "kept", "d/both", "d/new"}
    merged = api.get_discussion_details(repo, good.pr_num or 0)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(repo).sha)
    assert [commit.commit_id for commit in api.list_repo_commits(repo)][1] == on_main
    with pytest.raises(HfHubHTTPError, match="Both sides changed d/both") as caught:
        api.merge_pull_request(repo, clash.pr_num or 0)
    assert caught.value.response.status_code == 409
    assert api.get_discussion_details(repo, clash.pr_num or 0).status == "open"
    with pytest.raises(HfHubHTTPError):
        api.merge_pull_request(repo, good.pr_num or 0)


def test_merging_files_and_folders_of_one_name(api: HfApi, repo: str) -> None:
    start = [add("file", "1"), add("folder/x/y", "1")]
    api.create_commit(repo, start, commit_message="start")

    def proposed(*changes: CommitOperationAdd | CommitOperationDelete) -> int:
        made = api.create_commit(repo, changes, commit_message="proposal", create_pr=True)
        return made.pr_num or 0

    turned = proposed(
        *(CommitOperationDelete("file"), add("file/now/folder", "2")),
        *(CommitOperationDelete("folder/x/y"), add("folder", "2")),
    )
    below, above = proposed(add("a/b", "2")), proposed(add("c", "2"))
    api.create_commit(repo, [add("a", "1"), add("c/d/e", "1")], commit_message="meanwhile")
    for number, path in ((below, "a/b"), (above, "c")):
        with pytest.raises(HfHubHTTPError, match=f"Both sides changed {path}") as caught:
            api.merge_pull_request(repo, number)
        assert caught.value.response.status_code == 409
    api.merge_pull_request(repo, turned)
    files = {".gitattributes", "a", "c/d/e", "file/now/folder", "folder"}
    assert set(api.list_repo_files(repo)) == files

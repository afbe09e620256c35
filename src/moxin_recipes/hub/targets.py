"""Outputs before there is anything to push: the repository is there, and this token may write."""

import logging

from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from moxin_recipes.hub.session import AwayError, HubError, api, errors, qualified

log = logging.getLogger(__name__)
_MAY_NOT = {
    401: "the token is missing, wrong or expired; set HF_TOKEN, or use --hub local",
    402: "the Hub asks for a payment first; see to it there",
    403: "this token may not write there; take one with the right to write, or change the key",
}


def prove(key: str, repo: str, repo_type: str, private: bool) -> None:
    """Makes the repository of the recipe key `key` if it is not there, and asks for the right.

    A Hub that is away now may be there at the end, so that is a warning.

    Raises:
        HubError: the Hub refuses, with what to do about it.
    """
    repo = qualified(repo)
    what = f"`{key}`: {repo}"
    try:
        with errors(what):
            try:
                _ask(repo, repo_type, private)
            except HfHubHTTPError as error:
                reason = _MAY_NOT.get(error.response.status_code)
                if reason is None:
                    raise
                raise HubError(f"{what}: {reason} (asked before the work begins)") from error
    except AwayError as error:
        log.warning("%s (not looked whether it can be written; the work goes on)", error)


def _ask(repo: str, repo_type: str, private: bool) -> None:
    try:
        api().auth_check(repo, repo_type=repo_type, write=True)
    except RepositoryNotFoundError:  # so a Hub also answers to a token that it does not know
        api().create_repo(repo, repo_type=repo_type, private=private, exist_ok=True)
        # A repository that is there and closed to this token is "there already" to the client.
        api().auth_check(repo, repo_type=repo_type, write=True)

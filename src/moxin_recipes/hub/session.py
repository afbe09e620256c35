"""The Hub of this process: reachable or started, its namespace, its errors in one line."""

import contextlib
import os
import re
from collections.abc import Iterator
from functools import cache

import httpx2
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from moxin_hub import launcher
from moxin_recipes import environment
from moxin_recipes.hub.patience import patient_client


class HubError(RuntimeError):
    """What the Hub refused or could not do, with the way out, in one line.

    `passing`: it may go well at another time (the Hub is away, busy, or has trouble of its own).
    """

    passing = False


class AwayError(HubError):
    """A HubError that may pass."""

    passing = True


class MissingError(HubError):
    """A repository or a revision that does not exist."""


@cache
def api() -> HfApi:
    """The one client of this process."""
    _be_patient()
    return HfApi()


@cache
def _be_patient() -> None:
    """From here on, all of the library waits for a Hub that is busy."""
    set_client_factory(patient_client)


def start() -> None:
    """Makes the embedded Hub answer when it is the one in use, and ends it at exit.

    One that answers already is used as it is, and so is any other Hub.
    """
    if not environment.is_local():
        return
    try:
        launcher.ensure(environment.local_hub())
    except RuntimeError as error:
        raise HubError(str(error)) from error


@cache
def namespace() -> str:
    """The namespace of repository names written without one: MOXIN_NAMESPACE, else the user's."""
    given = os.environ.get("MOXIN_NAMESPACE")
    if given:
        return given
    with errors("the current user"):
        return str(api().whoami()["name"])


def qualified(repo: str) -> str:
    """`moxin-nano-sft` → `NAMESPACE/moxin-nano-sft`; a full name stays as it is."""
    return repo if "/" in repo else f"{namespace()}/{repo}"


@contextlib.contextmanager
def errors(what: str) -> Iterator[None]:
    """Turns the client's exceptions about `what` into a HubError of one line."""
    endpoint = os.environ.get("HF_ENDPOINT", environment.PUBLIC_ENDPOINT)
    _be_patient()
    try:
        yield
    except RevisionNotFoundError as error:
        raise MissingError(
            f"{what}: no such revision on {endpoint}; "
            "run the stage that makes it, or change the key"
        ) from error
    except RepositoryNotFoundError as error:
        raise MissingError(
            f"{what}: no such repository on {endpoint}, or no access to it; "
            "run the stage that makes it, or change the key"
        ) from error
    except (LocalTokenNotFoundError, OfflineModeIsEnabled, HFValidationError) as error:
        raise HubError(f"{what}: {' '.join(str(error).split())}") from error
    except HfHubHTTPError as error:
        raise _kind(error)(f"{what}: {endpoint} refused: {refusal(error)}") from error
    except HubError:
        raise
    except (RuntimeError, ValueError) as error:
        # The client wraps what stops the upload of a big file.
        if isinstance(error.__cause__, _NO_ANSWER):
            raise _away(what, endpoint, error.__cause__) from error
        reason = upload_refusal(error)
        if reason is None:
            raise
        raise _kind(error.__cause__)(f"{what}: {endpoint} refused: {reason}") from error
    except (*_NO_ANSWER, LocalEntryNotFoundError) as error:
        raise _away(what, endpoint, error) from error


_NO_ANSWER = (httpx2.TransportError, ConnectionError)


def _away(what: str, endpoint: str, error: BaseException) -> AwayError:
    return AwayError(
        f"{what}: the Hub at {endpoint} does not answer ({type(error).__name__}); "
        "start it (`moxin hub serve`) or check the network, then give the same command again"
    )


def _kind(error: BaseException | None) -> type[HubError]:
    """AwayError where trying again may help; a full disk has to be emptied first."""
    status = 0
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
    passing = (status >= 500 and status != 507) or status in (408, 429)
    return AwayError if passing else HubError


def refusal(error: HfHubHTTPError) -> str:
    """Why a Hub refused; without the queries of addresses, which carry signatures."""
    status = error.response.status_code if error.response is not None else None
    if status == 507:
        return "its disk is full; free some space and give the same command again"
    if status == 401:
        return "the token is missing or wrong; set HF_TOKEN or use --hub local"
    return re.sub(r"\?\S+", "", " ".join(str(error).split()))


def upload_refusal(error: RuntimeError | ValueError) -> str | None:
    """As `refusal`, of what the client raises for a big file; None for any other error."""
    if isinstance(error.__cause__, HfHubHTTPError):
        return refusal(error.__cause__)
    text = " ".join(str(error).split())
    return text if text.startswith("LFS batch API returned errors") else None

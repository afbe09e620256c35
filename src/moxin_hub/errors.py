"""The errors a client sees: a status, a message, and the code by which clients tell them apart."""

import errno
import logging

log = logging.getLogger(__name__)


class HubError(Exception):
    """An answer other than success; `code` is one of the Hub's, such as RepoNotFound."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.more: dict[str, object] = {}  # further members of the JSON answer
        self.headers: dict[str, str] = {}


def bad_request(message: str) -> HubError:
    return HubError(400, message)


def repo_not_found() -> HubError:
    return HubError(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(message: str = "Entry not found") -> HubError:
    return HubError(404, message, "EntryNotFound")


def refusal_of(error: Exception) -> HubError:
    """What a client is told of any error; one that is our own fault is logged, and 500."""
    if isinstance(error, HubError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return HubError(507, "No space left on the Hub's disk; nothing was changed")
    if number in (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR):
        return bad_request("This name cannot be stored beside those that exist")
    log.error("unexpected", exc_info=error)
    return HubError(500, "Internal error; the Hub's log says more")

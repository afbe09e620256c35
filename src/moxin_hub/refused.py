"""What the public Hub has and this one leaves out, answered as there where it is switched off."""

from starlette.responses import Response

from moxin_hub.errors import HubError
from moxin_hub.web import Call, Router

DISCUSSIONS = "Discussions are disabled for this repo"
GATING = "Gated access is disabled on this Hub; a repository is public or private"
SPACES = "Access to this resource is disabled."  # clients know a disabled repository by this text
_TABLE = {
    "/api/spaces/{rest*}": SPACES,
    "/spaces/{rest*}": SPACES,
    "/api/{type}/{repo}/discussions/{rest*}": DISCUSSIONS,
    "/api/{type}/{repo}/user-access-request/{rest*}": GATING,
    "/api/{type}/{repo}/super-squash/{rest*}": "Squashing is disabled on this Hub",
    "/api/{type}/{repo}/lfs-files/{rest*}": "Rewriting history is disabled on this Hub",
}
router = Router()


def refusal(message: str) -> HubError:
    return HubError(403, message)


for _path, _message in _TABLE.items():

    def _refuse(call: Call, message: str = _message) -> Response:  # noqa: ARG001
        raise refusal(message)

    for _method in ("GET", "POST", "PUT", "DELETE"):
        router.add(_method, _path)(_refuse)

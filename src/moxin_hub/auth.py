"""Who may do what: bearer tokens, the Host check, and upload URLs that are signed and expire."""

import enum
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from moxin_hub.errors import HubError
from moxin_hub.launcher import PAGE_SECONDS, sign, signature

UPLOAD_SECONDS = 12 * 3600
_SESSION_SECONDS = 12 * 3600
# A page of a foreign name whose DNS points here must not get at this Hub through a browser.
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")


class Role(enum.IntEnum):
    """What a request's token allows."""

    NOBODY = 0
    READ = 1
    WRITE = 2


class Gate:
    """Checks tokens, hosts and signatures; knows the two tokens of a root."""

    def __init__(self, write_token: str, read_token: str) -> None:
        self._tokens = {Role.WRITE: write_token.encode(), Role.READ: read_token.encode()}
        self._token = write_token
        self._opened: dict[str, int] = {}  # keys of pages that were used, until they expire
        self._started = int(time.time())  # which were used before it, nobody knows any more

    def role(self, authorization: str | None) -> Role:
        """The role of an Authorization header; a missing one is NOBODY.

        Raises:
            HubError: 401 for a header that is no token of this Hub.
        """
        if authorization is None:
            return Role.NOBODY
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            given = token.strip().encode()
            for role, known in self._tokens.items():
                if hmac.compare_digest(given, known):
                    return role
        raise HubError(401, "Invalid credentials in Authorization header")

    def proof(self, nonce: str) -> str:
        """The answer to a nonce by which a launcher knows the Hub of its root."""
        return signature(self._token, "alive", nonce)

    def sign_upload(self, url: str, fields: Mapping[str, str | int]) -> str:
        """`url` with these fields, an expiry, and a signature over both (not over `url` itself)."""
        return f"{url}?{sign(self._token, 'upload', fields, UPLOAD_SECONDS)}"

    def verify(self, purpose: str, query: str) -> dict[str, str]:
        """The fields of a query that was signed for this purpose.

        Raises:
            HubError: 403 if the signature is wrong or too old.
        """
        fields, _, given = query.rpartition("&signature=")
        expected = signature(self._token, purpose, fields)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise HubError(403, "This address is not signed by this Hub")
        values = dict(parse_qsl(fields))
        if int(values["expires"]) <= time.time():
            raise HubError(403, "This address has expired; ask for another")
        return values

    def open_session(self, query: str) -> tuple[str, str]:
        """Trades the query of a page's address, once, for the name and value of a browser's cookie.

        Raises:
            HubError: 403 if it was used, is too old, or is none of this Hub's.
        """
        fields = self.verify("page", query)
        key, end = fields["key"], int(fields["expires"])
        self._opened = {used: until for used, until in self._opened.items() if until > time.time()}
        if key in self._opened or end < self._started + PAGE_SECONDS:
            raise HubError(403, "This address was opened before; ask for another")
        self._opened[key] = end
        return self._cookie, sign(self._token, "session", {}, _SESSION_SECONDS)

    def browser_role(self, cookies: Mapping[str, str]) -> Role:
        """What a browser's cookies allow: to read, once a page's address was opened in it."""
        try:
            self.verify("session", cookies.get(self._cookie, ""))
        except HubError:
            return Role.NOBODY
        return Role.READ

    @property
    def _cookie(self) -> str:
        # Cookies know hosts, but no ports: each root has a name of its own.
        return "moxin-hub-" + signature(self._token, "cookie", "")[:12]


def check_host(host: str | None) -> None:
    """Refuses (403) every Host but the loopback's own names."""
    if host is None or not _HOST.fullmatch(host):
        raise HubError(403, "This Hub answers to 127.0.0.1 and localhost only")

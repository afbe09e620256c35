"""Who may do what: bearer tokens, the Host check, and upload URLs that are signed and expire."""

import enum
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlencode

from moxin_hub.errors import HubError
from moxin_hub.launcher import PAGE_SECONDS, page_key, proof

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
        self._write_token = write_token
        self._opened: dict[str, int] = {}  # keys of pages that were used, until they expire
        self._started = int(time.time())  # which were used before it, nobody knows any more
        self._key = hmac.new(write_token.encode(), b"upload urls", hashlib.sha256).digest()

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
        return proof(self._write_token, nonce)

    def sign(self, url: str, fields: Mapping[str, str | int]) -> str:
        """`url` with these fields, an expiry, and a signature over both (not over `url` itself)."""
        query = {name: str(value) for name, value in fields.items()}
        query["expires"] = str(int(time.time()) + UPLOAD_SECONDS)
        return f"{url}?{urlencode({**query, 'signature': self._signature(query)})}"

    def verify(self, query: Mapping[str, str]) -> dict[str, str]:
        """The signed fields of a URL made by `sign`.

        Raises:
            HubError: 403 if the signature is wrong or too old.
        """
        fields = {name: value for name, value in query.items() if name != "signature"}
        given = query.get("signature", "").encode(errors="replace")
        if not hmac.compare_digest(given, self._signature(fields).encode()):
            raise HubError(403, "This upload URL is not signed by this Hub")
        if int(fields["expires"]) < time.time():
            raise HubError(403, "This upload URL has expired; ask for another")
        return fields

    def open_session(self, key: str) -> tuple[str, str]:
        """Trades a page's key for the name and value of a browser's cookie; a key works once.

        Raises:
            HubError: 403 if it was used, is too old, or is none of this Hub's.
        """
        now = int(time.time())
        self._opened = {used: end for used, end in self._opened.items() if end > now}
        if (
            key in self._opened
            or not self._is_signed(key, "")
            or not now < _end(key) >= self._started + PAGE_SECONDS
        ):
            raise HubError(403, "This address was opened before or is too old; ask for another")
        self._opened[key] = _end(key)
        fields = f"{secrets.token_hex(12)}.{now + _SESSION_SECONDS}"
        return self._cookie, f"{fields}.{page_key(self._write_token, 'session:' + fields)}"

    def browser_role(self, cookies: Mapping[str, str]) -> Role:
        """What a browser's cookies allow: to read, once a page's address was opened in it."""
        value = cookies.get(self._cookie, "")
        valid = self._is_signed(value, "session:") and _end(value) > time.time()
        return Role.READ if valid else Role.NOBODY

    @property
    def _cookie(self) -> str:
        # Cookies know hosts, but no ports: each root has a name of its own.
        return "moxin-hub-" + page_key(self._write_token, "cookie")[:12]

    def _is_signed(self, value: str, purpose: str) -> bool:
        fields, _, signature = value.rpartition(".")
        if not value.isascii():
            return False
        return hmac.compare_digest(signature, page_key(self._write_token, purpose + fields))

    def _signature(self, fields: Mapping[str, str]) -> str:
        text = urlencode(sorted(fields.items()), errors="replace")
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _end(signed: str) -> int:
    """When a key or a session that is signed ends, in seconds of the epoch."""
    return int(signed.split(".")[1])


def check_host(host: str | None) -> None:
    """Refuses (403) every Host but the loopback's own names."""
    if host is None or not _HOST.fullmatch(host):
        raise HubError(403, "This Hub answers to 127.0.0.1 and localhost only")

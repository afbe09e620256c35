"""Secrets and addresses that hold one: what no manifest, no log and no error may repeat."""

import os
import re
from typing import Any
from urllib.parse import urlsplit

# What services and tools give their tokens and keys as.
_TOKEN = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{40,}|\bglpat-[\w-]{20,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b|\bxox[abeoprs]-[\w-]{10,}|\bpypi-[\w-]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}|\bnvapi-[\w-]{16,}|\bgsk_\w{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|://[^\s/:@]+:[^\s/@]{3,}@"
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/-]{16,}|^\+machine \S+ login \S+ password \S+"
    r"|://\S+[?&](?i:[\w-]*(?:key|token|secret|signature|passw(?:or)?d|auth))=[^\s&\"'{}<>$]{8,}"
)
# No token of text: a tokenizer, a count of tokens, a mark such as pad_token.
_SECRET_TOKEN = (
    r"(?<!pad_|eos_|bos_|unk_|cls_|sep_)(?<!mask_)token(?!i[sz]|s|_(?:bytes|cache|ids?|text))"
)
# A name that says so, and a value of letters and digits, or in quotes: no mark ([PAD_0]) and no
# variable's name.
_NAMED = re.compile(
    rf"(?i:(?:api_?key|access_?key|secret|{_SECRET_TOKEN}|passw(?:or)?d)\w*[\"'\]]*\s*[:=]\s*"
    r"(?:[\"'](?!(?-i:\[[A-Z0-9_]+\]|[A-Z]+(?:_[A-Z]+)+)[\"'])[^\s\"'{}<>$]{12,}[\"']"
    r"|(?=[A-Za-z+/=-]*\d)(?=[\d+/=-]*[A-Za-z])[A-Za-z0-9+/=-]{16,}\s*$))"
)
_VARIABLES = re.compile(r"TOKEN(?!IZ)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY")
_ADDRESS = re.compile(r"\s*(?:[A-Za-z][\w+.-]*:)?//\S+\s*")


def in_code(line: str) -> bool:
    """Whether a line of code or of settings holds what looks like a secret."""
    return in_text(line) or bool(_NAMED.search(line))


def in_text(text: str) -> bool:
    """Whether a text holds a token of a known form, or a value of one of this shell's variables."""
    values = (v for name, v in os.environ.items() if _VARIABLES.search(name.upper()))
    return bool(_TOKEN.search(text)) or any(value in text for value in values if len(value) > 8)


def in_values(values: Any, within: str = "") -> str | None:
    """The first key below plain values whose text holds a secret, or is an address that may."""
    if isinstance(values, dict | list):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        for name, value in pairs:
            inside = f"{within}[{name}]" if isinstance(values, list) else f"{within}.{name}"
            if found := in_values(value, inside.lstrip(".")):
                return found
        return None
    secret = isinstance(values, str) and (
        in_text(values) or (bool(_ADDRESS.fullmatch(values)) and not is_bare(values))
    )
    return within if secret else None


def is_bare(address: str) -> bool:
    """Whether an address has no user, no password, no query and no fragment: nothing to hide."""
    try:
        host = urlsplit(address.strip()).netloc or address
    except ValueError:
        return False
    return not (set("@\\") & set(host) or set("?#") & set(address))

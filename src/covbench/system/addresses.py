"""Show the address of a store or server without the password that somebody may have written into it."""

from __future__ import annotations

import re

SQLITE = "sqlite:///"
HIDDEN = "…"
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*:/+")
_BEFORE_HOST = re.compile(r".*(?:@|%(?:25)*40)", re.DOTALL)
"""Up to the last @, as it is or percent-encoded: a password may hold any character, / and @ among them."""
_HARMLESS = re.compile(r"(?:\[[\da-fA-F:.]+\]|[\w.-]+)(?::\d+)?(?:/[^:@?#;&=%]*)?")
"""Host, port and path. A port that is no number may be the password of a user who forgot the host."""


def show_address(address: str) -> str:
    """Show what of an address holds no secret: scheme, host, port, path; `…` takes the place of the rest.

    The path of a SQLite file is shown as it is, up to a query.
    """
    if address.startswith(SQLITE):
        path, *query = address.split("?", 1)
        return f"{path}?{HIDDEN}" if query else path
    scheme = _SCHEME.match(address)
    start = scheme[0] if scheme else ""
    rest = address[len(start) :]
    host = _BEFORE_HOST.sub("", rest)
    if host != rest:
        start += f"{HIDDEN}@"
    shown = _HARMLESS.match(host)
    if not shown:
        return f"{start}{HIDDEN}"
    if shown.end() == len(host):
        return start + host
    return f"{start}{shown[0]}?{HIDDEN}" if host[shown.end()] in "?#;&" else f"{start}{HIDDEN}"


def hide_passwords(text: str) -> str:
    """Hide what stands between `//` and the last @ of a word, in a text such as the message of a library."""
    return re.sub(r"//[^\s'\"]*(?:@|%(?:25)*40)", f"//{HIDDEN}@", text)

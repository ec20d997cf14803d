"""URLs of objects and of directories of them; never shown with credentials."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ..errors import InvalidArgumentError

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "memory", "file")

WEB = ("http", "https")
"""Schemes of URLs with a query; elsewhere ? is a character of names."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# A message of a library may have any number of them.
_USER = re.compile(r"(://)[^/\s]*@")
_QUERY = re.compile(r"([A-Za-z0-9+.-]*)(://[^\s?\"'>,]*)\?([^\s\"'>,]*)")
_SECRET = re.compile(r"(sig|signature|token|credential|key|secret|password)=", re.IGNORECASE)


def is_url(text: object) -> bool:
    """Return whether this is a URL and not a path."""
    return isinstance(text, str) and _URL.match(text) is not None


def without_credentials(text: str) -> str:
    """Return a URL, or a message with URLs, without users, passwords and queries."""
    if not is_url(text) or "\n" in text:
        return redacted(text)
    # Alone it is known where it ends, whatever characters a password has.
    scheme, _, rest = text.partition("://")
    path, _, query = rest.partition("?")
    if _is_name(scheme, query):
        path = rest
    place, slash, path = path.partition("/")
    place = place.rpartition("@")[2]
    port = place.rpartition("]")[2].rpartition(":")[2] if ":" in place else ""
    if port and not port.isdecimal() and "]" not in port:
        return f"{scheme}://…"  # A password with a slash.
    return redacted(f"{scheme}://{place}{slash}{path}")


def redacted(message: str) -> str:
    """Return a message without the users, passwords and queries of its URLs."""

    def without_query(url: re.Match[str]) -> str:
        scheme, path, query = url.groups()
        return url[0] if _is_name(scheme, query) else scheme + path

    return _QUERY.sub(without_query, _USER.sub(r"\1", message))


def _is_name(scheme: str, query: str) -> bool:
    """Return whether what is behind a ? is of an object's name, and nothing that was signed."""
    is_named = scheme.lower() in SCHEMES and scheme.lower() not in WEB
    return is_named and not _SECRET.search(query)


def object_url(url: str, name: str) -> str:
    """Return the URL of an object below one without credentials; of a signed one the name is empty."""
    return f"{url}/{name}" if name else url


def checked_url(url: str) -> str:
    """Return a URL of a kind that can be opened.

    Raises
    ------
    InvalidArgumentError
        It has another scheme, or no host or bucket.
    """
    shown = without_credentials(url)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018, it is parsed now
    except ValueError:
        # What Python says of it quotes parts of it, of which a password may be one.
        raise InvalidArgumentError(
            f"url={shown!r} is not valid: expected a host, or [an IPv6 address], and a number below "
            "65536 as its port; / ? # and @ in a password as %2F %3F %23 and %40"
        ) from None
    if parts.scheme.lower() not in SCHEMES:
        raise InvalidArgumentError(
            f"url={shown!r} is not valid: expected s3://, gs://, az://, http:// or https://"
        )
    if not parts.netloc and parts.scheme not in ("memory", "file"):
        raise InvalidArgumentError(
            f"url={shown!r} is not valid: expected a bucket or host behind {parts.scheme}://"
        )
    return url


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of the directory of an object, and its name there.

    A URL with a query, as one that was signed, is of one object: its name is empty.

    Raises
    ------
    InvalidArgumentError
        It names no object.
    """
    parts = urlsplit(checked_url(url))
    if parts.scheme.lower() in WEB:
        if parts.query:
            return url, ""
        directory, _, name = parts.path.rpartition("/")
        directory, name = urlunsplit((parts.scheme, parts.netloc, directory, "", "")), unquote(name)
    else:
        # In the name of an object ?, # and % are characters like others.
        directory, _, name = url.rpartition("/")
    if not name or directory.endswith(":/"):
        raise InvalidArgumentError(
            f"url={without_credentials(url)!r} is not valid: expected the URL of one object"
        )
    return directory, name


def encoded(url: str) -> str:
    """Return a URL as libraries parse it: in the names of objects ?, # and % are characters."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() in WEB:
        return url
    return f"{scheme}://{quote(rest, safe='/:@')}"

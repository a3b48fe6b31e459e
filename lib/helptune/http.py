"""Asking a server that the user named, and believing nothing it says: no redirect is followed, no answer is endless.

A timeout of a socket bounds the wait for the next byte, not for the last one, so whoever reads an answer says when to
give up as well.
"""

import time
import urllib.request
from http.client import HTTPResponse, IncompleteRead
from typing import Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit

_PIECE = 2**16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # so that a redirect is the error it is here


OPENER = urllib.request.build_opener(_NoRedirect)


def url_parts(url: str) -> SplitResult | None:
    """Of an http(s) URL that can be asked; of any other text None."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for one that is none
    except ValueError:
        return None
    written = url.isascii() and url.isprintable() and " " not in url
    return parts if written and parts.scheme in ("http", "https") and parts.hostname else None


def read_body(response: HTTPResponse | HTTPError, limit: int, seconds: float) -> bytes:
    """The body, of which at most `limit` + 1 bytes are read.

    Raises TimeoutError after about so many seconds, IncompleteRead for one that is shorter than the server said.
    """
    body, end = bytearray(), time.monotonic() + seconds
    while len(body) <= limit and (piece := response.read1(min(_PIECE, limit + 1 - len(body)))):
        body += piece
        if time.monotonic() > end:
            raise TimeoutError
    if len(body) <= limit and response.length:
        raise IncompleteRead(bytes(body), response.length)
    return bytes(body)


def failure(error: Exception, timeout: float) -> str:
    """What kept a server from answering, in words that follow its URL and a colon."""
    reason = getattr(error, "reason", error)  # of a URLError: what kept it from connecting
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(reason, OSError):
        return f"cannot be reached ({reason})"
    return f"gives no answer in HTTP ({type(reason).__name__}: {reason})"

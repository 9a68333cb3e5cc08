"""One request over HTTP: redirects, user and password, and every way in which it fails."""

import contextlib
import email.utils
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tome_zoo.errors import CheckpointError
from tome_zoo.weights.url import Url

TIMEOUT = 30.0  # s without a byte
HEADERS = {"User-Agent": "tome-zoo", "Accept-Encoding": "identity"}
RETRIED = (429, 500, 502, 503, 504)
REASONS = {
    401: "a login is needed: https://user:password@host/... gives one, or fetch it by hand in a browser",
    403: "access is denied: ask its publisher, or fetch it by hand in a browser",
    404: "there is no such file",
    429: "too many requests",
}


class InterruptedDownloadError(Exception):
    """The connection broke off, or the server asked to come again; the next attempt may go on where this one ended."""

    wait = 0.0  # s that the server asks for


class UnreachableError(InterruptedDownloadError):
    """No server answered."""


class StaleError(InterruptedDownloadError):
    """The part at hand is of another file; the next attempt begins anew."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """User and password go to the server that they were given for, and to no other."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        fresh = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if fresh is not None and login and (fresh.type, fresh.host) == (req.type, req.host):
            fresh.add_unredirected_header("Authorization", login)
        return fresh


@contextlib.contextmanager
def open_url(url: Url, headers: dict[str, str]) -> Iterator[Any]:
    """The answer to a GET, with status 200, 206 or 304.

    Raises:
        CheckpointError: If the server refuses.
        InterruptedDownloadError: If asking again may help.
    """
    request = urllib.request.Request(url.request, headers=headers)
    if url.authorization:
        request.add_unredirected_header("Authorization", url.authorization)
    try:
        with urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 304:
                yield error
                return
            raise _refusal(url, error, ranged="Range" in headers) from None
    except urllib.error.URLError as error:
        raise UnreachableError(str(error.reason)) from None
    except (http.client.HTTPException, OSError) as error:
        raise InterruptedDownloadError(str(error) or type(error).__name__) from None


def _refusal(url: Url, error: urllib.error.HTTPError, ranged: bool) -> Exception:
    if error.code == 416 and ranged:
        return StaleError("the server has no such range")
    reason = f"HTTP {error.code} {REASONS.get(error.code, error.reason)}"
    if error.code not in RETRIED:
        return CheckpointError(f"{url} could not be fetched: {reason}")
    again = InterruptedDownloadError(reason)
    again.wait = _retry_after(error.headers.get("Retry-After", ""))
    return again


def _retry_after(value: str) -> float:
    """Seconds to wait: the header holds them, or a date."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def validators_of(response: Any) -> dict[str, str]:
    """What an answer says of the file's version: `etag` and `modified`, empty where it says nothing."""
    return {"etag": response.headers.get("ETag", ""), "modified": response.headers.get("Last-Modified", "")}


def is_replaced(url: Url, size: int, validators: dict[str, Any]) -> bool:
    """Whether a server has another file now than the one of that size and those validators.

    Raises:
        CheckpointError: If it cannot be asked.
    """
    etag, modified = str(validators.get("etag", "")), str(validators.get("modified", ""))
    asked = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
    try:
        with open_url(url, HEADERS | asked) as response:
            if response.status == 304:
                return False
            found = validators_of(response)
            if etag and found["etag"]:
                return found["etag"].removeprefix("W/") != etag.removeprefix("W/")
            if modified and found["modified"]:
                return found["modified"] != modified
            length = response.headers.get("Content-Length", "")
            return length.isdigit() and int(length) != size
    except InterruptedDownloadError as error:
        raise CheckpointError(f"{url} cannot be asked for its version: {error}") from None

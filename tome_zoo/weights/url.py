"""An address of a file: what is asked of the server, and what may be shown of it."""

import base64
import hashlib
import os
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tome_zoo.errors import CheckpointError

SECRET = re.compile(r"token|key|secret|signature|password|passwd|credential|^sig$|^auth", re.IGNORECASE)
"""Names of query fields whose values nobody is shown."""
MAX_NAME = 100  # characters of a file's name in the cache; file systems take 255 bytes


@dataclass(frozen=True)
class Url:
    """A parsed http or https address.

    Attributes:
        request: What is sent: escaped, without user, password and fragment.
        authorization: The header for user and password; None if the address has none.
        shown: What messages and files may hold: without password and secret query fields.
        name: Name of the file in the cache: the last part of the path behind a digest of the address.
    """

    request: str
    authorization: str | None
    shown: str
    name: str

    def __str__(self) -> str:
        """The address without its secrets."""
        return self.shown


def is_url(source: str | os.PathLike[str]) -> bool:
    """Whether a text names a file by scheme; a drive letter is no scheme."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://", source.strip()) is not None


def local_path(source: str | os.PathLike[str]) -> Path:
    """The path that a user means: `~` is the home folder, `file://` goes.

    Raises:
        CheckpointError: If `~` stands for a folder that is not known.
    """
    if isinstance(source, str) and source.strip().lower().startswith("file://"):
        source = urllib.request.url2pathname(urllib.parse.urlsplit(source.strip()).path)
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise CheckpointError(f"{source}: {error}; give the whole path") from None


def parse(url: str, filename: str | None = None) -> Url:
    """Take an address apart.

    Args:
        url: http or https, with or without user and password; characters outside ASCII and blanks are escaped.
        filename: The file's name, where the address does not hold it.

    Raises:
        CheckpointError: If it is no address of these kinds.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        user, password = parts.username, parts.password
        if host is None:
            raise ValueError("it names no host")
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError as error:  # UnicodeError is one
        raise CheckpointError(f"{_without_user(url)} is no address: {error}") from None
    if scheme not in ("http", "https"):
        raise CheckpointError(f"{_without_user(url)}: expected http:// or https://, or a file on this disk")
    netloc = host if port is None else f"{host}:{port}"
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~") or "/"
    query = urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~")
    request = urllib.parse.urlunsplit((scheme, netloc, path, query, ""))
    authorization = None
    if user is not None:
        pair = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    shown = urllib.parse.urlunsplit((scheme, netloc, path, _redact(query), ""))
    return Url(request, authorization, shown, _cache_name(request, filename or urllib.parse.unquote(path)))


def _cache_name(request: str, path: str) -> str:
    """A name that every file system takes; its digest tells files of one name apart."""
    name = re.sub(r"[^\w.\-]+", "_", path.rstrip("/").rsplit("/", 1)[-1]).strip("._") or "weights"
    return f"{hashlib.sha256(request.encode()).hexdigest()[:8]}-{name[-MAX_NAME:]}"


def _redact(query: str) -> str:
    fields = []
    for field in query.split("&"):
        name, equals, _ = field.partition("=")
        fields.append(f"{name}=***" if equals and SECRET.search(name) else field)
    return "&".join(fields)


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)

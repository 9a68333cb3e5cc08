"""Fetching from a server on this machine: broken off, changed, refused, asked back."""

import email.utils
import hashlib
import urllib.error
from datetime import UTC, datetime, timedelta

import pytest

from tome_zoo.errors import CheckpointError
from tome_zoo.weights import connection, download, google_drive
from tome_zoo.weights.cache import cache_path
from tome_zoo.weights.fetch import fetch, find_cached, locate

from .conftest import login

BODY = bytes(range(256)) * 4096  # as the server of conftest.py has it
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_an_interrupted_download_goes_on(server, etag, weights):
    server.etag, server.drops = etag, [300_000, 400_000]
    assert fetch(weights(sha256=SHA)).read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-", "bytes=700000-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, monkeypatch, weights, leftovers):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.drops = [300_000]
    card = weights()
    with pytest.raises(CheckpointError, match="300000 of 1048576 bytes came"):
        fetch(card)
    assert find_cached(card) is None
    assert fetch(card).read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-"]
    assert leftovers(cache_path(card)) == []


def test_a_file_that_changed_in_between_begins_anew(server, monkeypatch, weights):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.drops = [300_000]
    with pytest.raises(CheckpointError):
        fetch(weights())
    server.body, server.etag = BODY[::-1] + b"more", '"2"'
    assert fetch(weights()).read_bytes() == server.body


def test_server_without_ranges_begins_anew(server, weights):
    server.drops, server.ranges = [300_000], False
    assert fetch(weights(sha256=SHA)).read_bytes() == BODY


def test_part_longer_than_the_file_begins_anew(server, monkeypatch, weights):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.drops = [300_000]
    with pytest.raises(CheckpointError):
        fetch(weights())
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    server.body = BODY[:1000]
    assert fetch(weights()).read_bytes() == BODY[:1000]


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, 5)])
def test_errors_of_the_server(server, status, asked, weights):
    server.status = status
    with pytest.raises(CheckpointError, match=f"could not be fetched: HTTP {status}.*put it at"):
        fetch(weights())
    assert len(server.requests) == asked


def test_a_web_page_is_no_file(server, weights):
    server.page = b"<html>Sign in</html>"
    with pytest.raises(CheckpointError, match=r"answered with a web page.*by hand"):
        fetch(weights())
    assert find_cached(weights()) is None


def test_the_question_of_google_drive_is_answered(server, monkeypatch, weights):
    monkeypatch.setattr(google_drive, "is_drive", lambda url: "127.0.0.1" in url)
    hidden = "".join(f'<input type="hidden" name="{n}" value="{v}">' for n, v in (("id", "a"), ("confirm", "t")))
    server.page = f'<form action="{server.url("download")}" method="get">{hidden}</form>'.encode()
    asked = []
    handler = server.RequestHandlerClass
    real = handler.do_GET

    def answer(self):
        asked.append(self.path)
        if self.path == "/download?id=a&confirm=t":
            server.page = None
        real(self)

    monkeypatch.setattr(handler, "do_GET", answer)
    assert fetch(weights(filename="drive.pth")).read_bytes() == BODY
    assert asked == ["/w.pth", "/download?id=a&confirm=t"]
    assert cache_path(weights(filename="drive.pth")).name.endswith("-drive.pth")


def test_more_than_a_model_can_have_is_refused(server, monkeypatch, weights):
    monkeypatch.setattr(download, "MAX_FILE", 1000)
    with pytest.raises(CheckpointError, match="more than any model of the zoo"):
        fetch(weights())


def test_a_full_disk_is_said(server, monkeypatch, weights):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match=r"0 MiB are free: make room, or set TOME_ZOO_HOME"):
        fetch(weights())


def test_a_reconnection_that_fails_is_tried_again(server, monkeypatch, weights):
    """The connection breaks off, and the server refuses the next ones for a while."""
    server.drops = [300_000]
    real, refused = connection.urllib.request.OpenerDirector.open, [1, 1]

    def refuse(self, request, *args, **kwargs):
        if server.requests and refused:
            refused.pop()
            raise urllib.error.URLError(ConnectionRefusedError(111, "Connection refused"))
        return real(self, request, *args, **kwargs)

    monkeypatch.setattr(connection.urllib.request.OpenerDirector, "open", refuse)
    assert fetch(weights(sha256=SHA)).read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-"]
    assert refused == []


def test_a_server_that_stays_away_is_given_up(server, monkeypatch, weights):
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    server.drops, asked = [300_000], []
    real = connection.urllib.request.OpenerDirector.open

    def refuse(self, request, *args, **kwargs):
        asked.append(request)
        if len(asked) > 1:
            raise urllib.error.URLError("gone")
        return real(self, request, *args, **kwargs)

    monkeypatch.setattr(connection.urllib.request.OpenerDirector, "open", refuse)
    with pytest.raises(CheckpointError, match=r"could not be fetched: gone"):
        fetch(weights())
    assert len(asked) == 3


@pytest.mark.parametrize("date", [False, True])
def test_a_server_that_asks_to_wait_is_obeyed(server, monkeypatch, weights, date):
    later = datetime.now(UTC) + timedelta(seconds=17)
    server.status, server.failures = 429, 1
    server.retry_after = email.utils.format_datetime(later, usegmt=True) if date else "17"
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert fetch(weights(sha256=SHA)).read_bytes() == BODY
    slept = [seconds for seconds in slept if seconds]  # the server of the test sleeps as well
    assert slept == [pytest.approx(17, abs=3 if date else 0)]


def test_a_server_that_asks_to_wait_too_long_is_told(server, weights):
    server.status, server.retry_after = 429, "86400"
    with pytest.raises(CheckpointError, match=r"HTTP 429 too many requests; the server asks to come again in 86400 s"):
        fetch(weights())
    assert len(server.requests) == 1


def test_user_and_password_of_an_address_are_sent_and_never_shown(server, caplog, tmp_path):
    caplog.set_level(0)
    server.login = "me:se cret@"
    url = server.url("w.pth?download=1&token=hidden#part").replace("127.0.0.1", "me:se%20cret%40@127.0.0.1")
    path = locate(url)
    assert path.read_bytes() == BODY
    server.login = "another:one"
    with pytest.raises(CheckpointError) as caught:
        locate(url, force=True)
    assert "HTTP 401 a login is needed" in str(caught.value)
    told = caplog.text + str(caught.value) + path.name
    told += "".join(p.read_text(errors="replace") for p in path.parent.parent.rglob("*.json"))
    assert not any(secret in told for secret in ("se%20cret", "se cret", "hidden", "part", "me:"))


@pytest.mark.parametrize(("host", "sent"), [("127.0.0.1", True), ("localhost", False)])
def test_a_password_follows_a_redirect_to_its_own_server_only(server, host, sent):
    server.moved["/old.pth"] = server.url("new.pth").replace("127.0.0.1", host)
    locate(server.url("old.pth").replace("127.0.0.1", "me:secret@127.0.0.1"))
    assert server.headers[0]["Authorization"] == login("me:secret")
    assert server.headers[1]["Authorization"] == (login("me:secret") if sent else None)

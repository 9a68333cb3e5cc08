"""Fetching from a server on this machine: broken off, changed, refused, asked back."""

import hashlib

import pytest

from tome_zoo.errors import CheckpointError
from tome_zoo.weights import download
from tome_zoo.weights.fetch import cached, fetch, place

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
    assert cached(card) is None
    assert fetch(card).read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-"]
    assert leftovers(place(card)) == []


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
    assert cached(weights()) is None


def test_the_question_of_google_drive_is_answered(server, monkeypatch, weights):
    monkeypatch.setattr(download, "_is_drive", lambda url: "127.0.0.1" in url)
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
    assert place(weights(filename="drive.pth")).name.endswith("-drive.pth")


def test_more_than_a_model_can_have_is_refused(server, monkeypatch, weights):
    monkeypatch.setattr(download, "MAX_FILE", 1000)
    with pytest.raises(CheckpointError, match="more than any model of the zoo"):
        fetch(weights())


def test_a_full_disk_is_said(server, monkeypatch, weights):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match=r"0 MiB are free: make room, or set TOME_ZOO_HOME"):
        fetch(weights())

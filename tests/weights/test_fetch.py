"""The cache: fetched once, checked, mended, shared by processes, filled by hand."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tome_zoo
from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.cache import cache_folder, cache_path
from tome_zoo.weights.fetch import fetch, find_cached, locate

BODY = bytes(range(256)) * 4096  # as the server of conftest.py has it
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    "fields", [{}, {"sha256": SHA}, {"sha256": SHA[:8]}, {"md5_prefix": hashlib.md5(BODY).hexdigest()[:6]}]
)
def test_a_file_is_fetched_once(server, fields, weights, leftovers):
    seen = []
    card = weights(**fields)
    assert find_cached(card) is None
    path = fetch(card, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert path == find_cached(card) == cache_path(card)
    assert path.is_relative_to(cache_folder())
    assert seen[-1] == (len(BODY), len(BODY))
    assert fetch(card) == path
    assert server.requests == [None]
    assert leftovers(path) == []


def test_a_corrupted_file_is_refused_and_removed(server, weights, leftovers):
    server.body = BODY[:-1] + b"x"
    card = weights(sha256=SHA)
    with pytest.raises(CheckpointError, match=r"came damaged twice.*its sha256 is .*the card says .*was removed"):
        fetch(card)
    assert find_cached(card) is None
    assert leftovers(cache_path(card)) == []
    assert len(server.requests) == 2
    server.body = BODY
    assert fetch(card).read_bytes() == BODY


@pytest.mark.parametrize("fields", [{}, {"sha256": SHA}])
def test_a_cached_file_that_changed_is_fetched_again(server, fields, monkeypatch, caplog, weights):
    card = weights(**fields)
    path = fetch(card)
    path.write_bytes(BODY[:-1] + b"x")
    monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="has changed since it was fetched, and fetching is switched off"):
        fetch(card)
    monkeypatch.delenv("TOME_ZOO_OFFLINE")
    assert fetch(card).read_bytes() == BODY
    assert "has changed since it was fetched" in caplog.text
    os.utime(path)  # touched, but the same bytes
    assert fetch(card) == path
    assert len(server.requests) == 2


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_one(server, weights):
    card = weights(sha256=SHA)
    cache_path(card).parent.mkdir(parents=True)
    cache_path(card).write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"damaged or another file.*Remove it"):
        fetch(card)
    assert cache_path(card).read_bytes() == b"another"
    cache_path(card).write_bytes(BODY)
    assert fetch(card) == cache_path(card)
    assert server.requests == []


def test_two_processes_get_one_good_file(server, tmp_path):
    server.slow = 0.5
    code = (
        "import sys; from tome_zoo.cards import Weights; from tome_zoo.weights.fetch import fetch\n"
        f"print(fetch(Weights(url={server.url()!r}, layout='timm', license='none', sha256={SHA!r})))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {run.communicate(timeout=60)[0].strip() for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == BODY
    assert server.requests == [None]


def test_server_gone_says_where_to_get_it_and_where_to_put_it(server, weights):
    card = weights()
    server.shutdown()
    server.server_close()
    with pytest.raises(CheckpointError) as caught:
        fetch(card)
    message = str(caught.value)
    assert "cannot be reached" in message
    assert f"get {card.url} elsewhere and put it at {cache_path(card)}" in message
    assert "weights=" in message


def test_a_cache_that_cannot_be_made_is_named(weights, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"cannot write to the cache .*set TOME_ZOO_HOME"):
        fetch(weights())


@pytest.mark.skipif(sys.platform != "linux", reason="the rules of freedesktop.org")
def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch):
    monkeypatch.delenv("TOME_ZOO_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/tome-zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tome-zoo"
    monkeypatch.setenv("TOME_ZOO_HOME", "~/zoo")
    assert cache_folder() == Path.home() / "zoo"


@pytest.mark.skipif(getattr(os, "getuid", lambda: 1)() != 0, reason="only root can become a user that nobody knows")
def test_without_a_home_the_cache_is_still_a_whole_path():
    code = "import os; from tome_zoo.weights.cache import cache_folder; os.setuid(12345); print(cache_folder())"
    env = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME", "TOME_ZOO_HOME")}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()).is_absolute()


def test_switched_off_nothing_is_asked(server, monkeypatch, weights):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"fetching is switched off.*put it at"):
        fetch(weights())
    assert server.requests == []


def test_create_model_takes_a_url(server, tmp_path):
    tiny = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    model = tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", **tiny)
    save_file(dict(model.state_dict()), tmp_path / "w.safetensors")
    server.body = (tmp_path / "w.safetensors").read_bytes()
    url = server.url("w.safetensors")
    loaded = tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", weights=url, **tiny)
    assert torch.equal(loaded.head.weight, model.head.weight)


def test_a_file_that_was_replaced_under_its_address_is_seen(server, caplog):
    path = locate(server.url())
    assert locate(server.url()) == path
    assert server.headers[-1]["If-None-Match"] == '"1"'
    assert len(server.requests) == 2  # the second was answered by 304
    server.body, server.etag = BODY[::-1], '"2"'
    assert locate(server.url()).read_bytes() == server.body
    assert "has another file than before" in caplog.text
    assert locate(server.url()).read_bytes() == server.body
    assert server.requests == [None] * 5


def test_a_server_without_versions_is_asked_for_the_size(server):
    server.etag = ""
    assert locate(server.url()).read_bytes() == BODY
    assert locate(server.url()).read_bytes() == BODY
    server.body = BODY[:1000]
    assert locate(server.url()).read_bytes() == BODY[:1000]


@pytest.mark.parametrize("gone", ["server", "offline", "file", "server at fault"])
def test_what_is_at_hand_is_used_where_the_server_cannot_be_asked(server, gone, monkeypatch, caplog):
    monkeypatch.setattr("tome_zoo.weights.download.ATTEMPTS", 1)
    path = locate(server.url())
    if gone == "offline":
        monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    elif gone == "server":
        server.shutdown()
        server.server_close()
    else:
        server.status = 404 if gone == "file" else 503
    assert locate(server.url()) == path
    assert ("is used as it lies in the cache" in caplog.text) == (gone != "offline")


def test_force_fetches_what_is_at_hand(server, weights):
    card = weights(sha256=SHA)
    cache_path(card).parent.mkdir(parents=True)
    cache_path(card).write_bytes(b"by hand")
    assert fetch(card, force=True).read_bytes() == BODY
    fetch(card, force=True)
    assert server.requests == [None, None]


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nothing", "page"])
def test_a_short_copy_is_dropped_and_fetched_once_more(server, kind, tmp_path, caplog):
    """A server that does not tell the length can break off unnoticed; the file itself tells."""
    tensors = {"a": torch.zeros(1000)}
    (save_file if kind != "torch" else torch.save)(tensors, tmp_path / "w")
    server.body, server.lengths = (tmp_path / "w").read_bytes(), False
    if kind == "page":
        whole, server.body = server.body, b"<html>Busy</html>" + bytes(5000)
        real = server.RequestHandlerClass.reply

        def reply(self, *args):
            real(self, *args)
            server.body = whole

        server.drops = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.RequestHandlerClass, "reply", reply)
            found = locate(server.url())
        assert found.read_bytes() == whole
    else:
        server.drops = [0 if kind == "nothing" else 3000]
        assert locate(server.url()).read_bytes() == server.body
    assert "came damaged (it" in caplog.text
    assert len(server.requests) == 2


def test_a_copy_that_is_short_twice_is_refused_and_not_kept(server, weights, tmp_path):
    save_file({"a": torch.zeros(1000)}, tmp_path / "w")
    server.body, server.lengths, server.drops = (tmp_path / "w").read_bytes(), False, [3000, 3000]
    with pytest.raises(CheckpointError, match=r"came damaged twice.*its header announces"):
        locate(server.url())
    assert find_cached(weights()) is None


READ_ONLY = """
mount --bind {home} {home} && mount -o remount,ro,bind {home} && exec {python} -c '
from tome_zoo.cards import Weights
from tome_zoo.weights.fetch import fetch
print(fetch(Weights(url="http://127.0.0.1:9/w.pth", layout="timm", license="", sha256="{sha}")))
'"""


@pytest.mark.parametrize("checked", [True, False])
def test_weights_at_hand_are_used_where_nothing_can_be_written(tmp_path, checked):
    """On a file system that is mounted read-only, whether the file was checked before or put there by hand."""
    if not (shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0):
        pytest.skip("only root can mount a file system read-only")
    card = Weights(url="http://127.0.0.1:9/w.pth", layout="timm", license="", sha256=SHA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOME_ZOO_HOME", str(tmp_path / "home"))
        path = cache_path(card)
        path.parent.mkdir(parents=True)
        path.write_bytes(BODY)
        if checked:
            fetch(card)
        command = READ_ONLY.format(home=tmp_path / "home", python=sys.executable, sha=SHA)
        run = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(path)


def test_create_model_takes_a_path_from_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tiny = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    model = tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", **tiny)
    save_file(dict(model.state_dict()), tmp_path / "w.safetensors")
    for source in ("~/w.safetensors", (tmp_path / "w.safetensors").as_uri()):
        loaded = tome_zoo.create_model("deit_tiny_patch16_224.fb_in1k", weights=source, **tiny)
        assert torch.equal(loaded.head.weight, model.head.weight)

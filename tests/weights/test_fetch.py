"""The cache: fetched once, checked, mended, shared by processes, filled by hand."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tome_zoo
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.fetch import cache_folder, cached, fetch, place

BODY = bytes(range(256)) * 4096  # as the server of conftest.py has it
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    "fields", [{}, {"sha256": SHA}, {"sha256": SHA[:8]}, {"md5_prefix": hashlib.md5(BODY).hexdigest()[:6]}]
)
def test_a_file_is_fetched_once(server, fields, weights, leftovers):
    seen = []
    card = weights(**fields)
    assert cached(card) is None
    path = fetch(card, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert path == cached(card) == place(card)
    assert path.is_relative_to(cache_folder())
    assert seen[-1] == (len(BODY), len(BODY))
    assert fetch(card) == path
    assert server.requests == [None]
    assert leftovers(path) == []


def test_a_corrupted_file_is_refused_and_removed(server, weights, leftovers):
    server.body = BODY[:-1] + b"x"
    card = weights(sha256=SHA)
    with pytest.raises(CheckpointError, match=r"came damaged.*its sha256 is .*the card says .*was removed"):
        fetch(card)
    assert cached(card) is None
    assert leftovers(place(card)) == []
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
    place(card).parent.mkdir(parents=True)
    place(card).write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"damaged or another file.*Remove it"):
        fetch(card)
    assert place(card).read_bytes() == b"another"
    place(card).write_bytes(BODY)
    assert fetch(card) == place(card)
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
    assert f"get {card.url} elsewhere and put it at {place(card)}" in message
    assert "weights=" in message


def test_a_cache_that_cannot_be_made_is_named(weights, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOME_ZOO_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"cannot make the cache .*set TOME_ZOO_HOME"):
        fetch(weights())


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch):
    monkeypatch.delenv("TOME_ZOO_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/tome-zoo")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tome-zoo"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "tome-zoo"


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

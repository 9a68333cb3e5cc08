"""Files of the Hugging Face hub, through its own client, from a hub on this machine."""

import hashlib

import pytest
from safetensors.torch import save

import tome_zoo
from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.cache import cache_path
from tome_zoo.weights.fetch import fetch, find_cached

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server as a hub with the files of `server.files`: path -> bytes."""
    server.files, server.refusal = {}, None

    def answer(handler):
        server.requests.append((handler.command, handler.path))
        name = handler.path.split("/", 5)[-1].split("?")[0]
        if server.refusal:
            status, headers = server.refusal
            handler.send_response(status)
            for key, value in (headers | {"Content-Length": "0"}).items():
                handler.send_header(key, value)
            handler.end_headers()
            return
        if name not in server.files:
            handler.send_response(404)
            handler.send_header("X-Error-Code", "EntryNotFound")
            handler.send_header("X-Repo-Commit", COMMIT)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        content = server.files[name]
        handler.send_response(200)
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content)

    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", answer)
    monkeypatch.setattr(server.RequestHandlerClass, "do_HEAD", answer, raising=False)
    root = server.url("").rstrip("/")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", root)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", root + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return server


def card(**fields):
    return Weights(hub="owner/name", filename="model.safetensors", layout="timm", license="none", **fields)


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_file_comes_from_the_hub_and_stays_in_its_cache(hub, revision, monkeypatch):
    hub.files["model.safetensors"] = b"weights"
    weights = card(revision=revision)
    assert find_cached(weights) is None
    assert fetch(weights).read_bytes() == b"weights"
    assert find_cached(weights) is not None
    monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    assert fetch(weights).read_bytes() == b"weights"


def test_the_older_name_of_the_same_tensors_is_tried(hub):
    hub.files["pytorch_model.bin"] = b"weights"
    assert fetch(card()).name == "pytorch_model.bin"
    assert find_cached(card()).name == "pytorch_model.bin"


def test_a_file_that_is_not_there(hub):
    with pytest.raises(
        CheckpointError, match=r"owner/name/resolve/main/model.safetensors could not be fetched: the rep"
    ):
        fetch(card())


def test_a_hash_on_the_card_is_checked(hub):
    hub.files["model.safetensors"] = b"weights"
    with pytest.raises(CheckpointError, match="its sha256 is"):
        fetch(card(sha256="0" * 64))
    assert fetch(card(sha256=hashlib.sha256(b"weights").hexdigest())).read_bytes() == b"weights"


@pytest.mark.parametrize("gone", ["offline", "server"])
def test_out_of_reach_says_where_to_get_it_and_where_to_put_it(hub, gone, monkeypatch):
    if gone == "offline":
        monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    else:
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client tries for 23 s
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
        )
    with pytest.raises(CheckpointError) as caught:
        fetch(card(revision=COMMIT))
    message = str(caught.value)
    asked = "http://127.0.0.1:9" if gone == "server" else hub.url("").rstrip("/")
    assert message.count(f"{asked}/owner/name/resolve/{COMMIT}/model.safetensors ") == 2
    assert str(cache_path(card(revision=COMMIT))) in message
    cache_path(card(revision=COMMIT)).parent.mkdir(parents=True)
    cache_path(card(revision=COMMIT)).write_bytes(b"by hand")
    assert fetch(card(revision=COMMIT)).read_bytes() == b"by hand"


def test_a_pretrained_model_is_built_from_the_hub(hub):
    name = "deit_tiny_patch16_224.fb_in1k"
    model = tome_zoo.create_model(name, **TINY)
    hub.files["model.safetensors"] = save({k: v.contiguous() for k, v in model.state_dict().items()})
    loaded = tome_zoo.create_model(name, pretrained=True, **TINY)
    assert (loaded.head.weight == model.head.weight).all()


REFUSALS = {
    "gated": (
        403,
        {"X-Error-Code": "GatedRepo"},
        r"it is gated \(HTTP 403\): agree to its conditions at {root}/owner/name",
    ),
    "private": (401, {"X-Error-Code": "RepoNotFound"}, r"or it is private \(HTTP 401\): if so, log in with .*HF_TOKEN"),
    "unknown": (401, {}, r"or it is private \(HTTP 401\): if so, log in with .*HF_TOKEN"),
    "revision": (404, {"X-Error-Code": "RevisionNotFound"}, "the repository has no revision"),
    "limit": (
        429,
        {"Retry-After": "3"},
        r"too many requests \(HTTP 429\), it asks to come again in 3 s; a login raises",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("at_hand", [False, True])
def test_what_the_hub_refuses_is_told_and_a_copy_at_hand_is_used(hub, kind, at_hand, monkeypatch, caplog):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    if at_hand:
        hub.files["model.safetensors"] = b"weights"
        fetch(card())
    *hub.refusal, pattern = REFUSALS[kind]
    pattern = pattern.format(root=hub.url("").rstrip("/"))
    if at_hand:
        assert fetch(card()).read_bytes() == b"weights"
        return
    with pytest.raises(CheckpointError, match=pattern) as caught:
        fetch(card())
    assert str(caught.value).startswith(
        f"{hub.url('').rstrip('/')}/owner/name/resolve/main/model.safetensors could not"
    )
    if kind == "limit":
        assert slept
        assert min(slept) >= 3


def test_a_truncated_blob_is_dropped_and_fetched_once_more(hub, caplog):
    hub.files["model.safetensors"] = b"weights" * 100
    path = fetch(card(revision=COMMIT))
    path.resolve().write_bytes(b"weights")
    assert fetch(card(revision=COMMIT)).read_bytes() == b"weights" * 100
    assert "is damaged (its hash is" in caplog.text


def test_force_fetches_from_the_hub_again(hub):
    hub.files["model.safetensors"] = b"weights"
    fetch(card(revision=COMMIT))
    before = len(hub.requests)
    assert fetch(card(revision=COMMIT), force=True).read_bytes() == b"weights"
    assert ("GET", hub.requests[-1][1]) == hub.requests[-1]
    assert len(hub.requests) > before

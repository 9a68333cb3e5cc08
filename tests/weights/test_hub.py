"""Files of the Hugging Face hub, through its own client, from a hub on this machine."""

import hashlib

import pytest
from safetensors.torch import save

import tome_zoo
from tome_zoo.cards import Weights
from tome_zoo.errors import CheckpointError
from tome_zoo.weights.fetch import cached, fetch, place

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server as a hub with the files of `server.files`: path -> bytes."""
    server.files = {}

    def answer(handler):
        server.requests.append((handler.command, handler.path))
        name = handler.path.split("/", 5)[-1].split("?")[0]
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
    assert cached(weights) is None
    assert fetch(weights).read_bytes() == b"weights"
    assert cached(weights) is not None
    monkeypatch.setenv("TOME_ZOO_OFFLINE", "1")
    assert fetch(weights).read_bytes() == b"weights"


def test_the_older_name_of_the_same_tensors_is_tried(hub):
    hub.files["pytorch_model.bin"] = b"weights"
    assert fetch(card()).name == "pytorch_model.bin"
    assert cached(card()).name == "pytorch_model.bin"


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
    assert f"https://huggingface.co/owner/name/resolve/{COMMIT}/model.safetensors " in message
    assert str(place(card(revision=COMMIT))) in message
    place(card(revision=COMMIT)).parent.mkdir(parents=True)
    place(card(revision=COMMIT)).write_bytes(b"by hand")
    assert fetch(card(revision=COMMIT)).read_bytes() == b"by hand"


def test_a_pretrained_model_is_built_from_the_hub(hub):
    name = "deit_tiny_patch16_224.fb_in1k"
    model = tome_zoo.create_model(name, **TINY)
    hub.files["model.safetensors"] = save({k: v.contiguous() for k, v in model.state_dict().items()})
    loaded = tome_zoo.create_model(name, pretrained=True, **TINY)
    assert (loaded.head.weight == model.head.weight).all()

"""Shared by all tests: the golden vectors, quiet and repeatable torch."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def start_python() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start Python with arguments, without torchrun's variables but with those given; killed with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
        kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        started.append(subprocess.Popen(
            [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        ))  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def free_port() -> str:
    """A port of this machine that nobody listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])


@pytest.fixture(scope="session")
def golden_index() -> dict[str, Any]:
    """Which cases each golden file holds, and the configurations of their models."""
    return json.loads((GOLDEN / "index.json").read_text())


@pytest.fixture(scope="session")
def golden():
    """name -> tensors of that golden file."""
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium driven by Playwright; skips where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium found")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, headless=True, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """address, width, theme -> a page whose `faults` are console errors, exceptions and requests beyond loopback."""
    contexts = []

    def visit(address: str, width: int = 1440, theme: str = "light"):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.faults = []
        page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: None if is_local(request.url) else page.faults.append(request.url))
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()


def is_local(url: str) -> bool:
    """Whether a request stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("file", "data", "blob") or parts.hostname in ("127.0.0.1", "localhost")


@pytest.fixture
def make_result():
    """A `Result` with other fields than these."""
    from tome_zoo.evaluation.results import Result

    defaults = {
        "model": "model.tag", "modality": "image", "dataset": "things", "split": "val", "r": "0", "protocol": "p@1",
        "gmacs": 2.0, "samples_per_second": 100.0, "n_expected": 8, "n_scored": 8, "n_failed": 0,
        "tokens": (12, 9), "views": 1, "prop_attn": True, "weights": "0123456789abcdef", "batch_size": 4,
        "dtype": "float32", "device": "cpu (2 threads)", "versions": {"tome-zoo": "0.1.0", "torch": "2"},
        "date": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip

    def make(**fields: Any) -> Result:
        scores = {} if "map" in fields else {"top1": 50.0, "top5": 100.0}
        return Result(**{**defaults, **scores, **fields})

    return make


TINY_CARDS = """
[[dataset]]
name = "tiny_things"
modality = "image"
title = "Noise"
layout = "image_folder"
splits = { train = "train", val = "val" }
num_classes = 4
labels = "things.txt"
license = "none"
origin = "a test"
obtain = "run the test"

[[dataset]]
name = "tiny_clips"
modality = "video"
title = "Moving noise"
layout = "video_list"
splits = { val = "val.csv" }
num_classes = 4
labels = "things.txt"
license = "none"
origin = "a test"
obtain = "run the test"

[[dataset]]
name = "tiny_sounds"
modality = "audio"
title = "Hiss"
layout = "audioset_json"
splits = { val = "val.json" }
num_classes = 3
labels = "sounds.csv"
multi_label = true
license = "none"
origin = "a test"
obtain = "run the test"

[[protocol]]
name = "tiny_2x1"
version = 3
modality = "video"
temporal_views = 2
aggregate = "softmax_mean"

[[model]]
name = "tiny_image.test"
modality = "image"
architecture = { embed_dim = 16, depth = 3, num_heads = 2, patch_size = 8, img_size = 32, num_classes = 4 }
input = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25], crop_pct = 1.0 }
weights = { file = "image.safetensors", layout = "timm", license = "none" }
merging = { r = [0, 2, 4], default_r = 2 }
dataset = "tiny_things"
protocol = "image_center_crop"

[[model]]
name = "tiny_video.test"
modality = "video"
input = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25], sampling_rate = 1, crop_pct = 1.0 }
weights = { file = "video.safetensors", layout = "timm", license = "none" }
merging = { r = [0, 2], default_r = 2 }
dataset = "tiny_clips"
protocol = "tiny_2x1"
[model.architecture]
embed_dim = 16
depth = 2
num_heads = 2
patch_size = 16
img_size = 32
num_classes = 4
pool = "avg"
num_frames = 4
tubelet_size = 2

[[model]]
name = "tiny_audio.test"
modality = "audio"
input = { mean = -6.0, std = 4.0 }
weights = { file = "audio.safetensors", layout = "timm", license = "none" }
merging = { r = [0, 4], default_r = 4 }
dataset = "tiny_sounds"
protocol = "audio_clip"
[model.architecture]
embed_dim = 16
depth = 2
num_heads = 2
img_size = [64, 32]
in_chans = 1
num_classes = 3

[[model]]
name = "tiny_encoder.test"
modality = "image"
architecture = { embed_dim = 16, depth = 3, num_heads = 2, patch_size = 8, img_size = 32, num_classes = 0 }
input = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }
dataset = "tiny_things"
protocol = "image_center_crop"
"""


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of cards with random weights, and beside it data of each modality; made once."""
    import wave

    import av
    import numpy as np
    from PIL import Image
    from safetensors.torch import save_file

    from tome_zoo import cards, create_model

    root = tmp_path_factory.mktemp("tiny")
    folder = root / "cards"
    folder.mkdir()
    (folder / "cards.toml").write_text(TINY_CARDS)
    (folder / "things.txt").write_text("ant\nbee\ncow\ndog\n")
    (folder / "sounds.csv").write_text("index,mid,display_name\n0,/t/a,Alarm\n1,/t/b,Bell\n2,/t/c,Chime\n")
    cards.register_cards(folder)
    try:
        for number, modality in enumerate(("image", "video", "audio")):
            torch.manual_seed(number)
            model = create_model(f"tiny_{modality}.test")
            with torch.no_grad():
                for parameter in model.parameters():  # timm starts so close to zero that all inputs score alike
                    parameter.add_(0.2 * torch.randn_like(parameter))
            save_file(model.state_dict(), folder / f"{modality}.safetensors")
    finally:
        cards.unregister_cards(folder)

    rng = np.random.default_rng(0)
    for number in range(22):
        path = root / "image" / "val" / ("ant", "bee", "cow", "dog")[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)

    (root / "video").mkdir()
    lines = []
    for number in range(5):
        with av.open(str(root / "video" / f"{number}.mp4"), "w") as file:
            stream = file.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for _ in range(9):
                frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        lines.append(f"{number}.mp4 {number % 4}")
    (root / "video" / "val.csv").write_text("\n".join(lines) + "\n")

    (root / "audio").mkdir()
    entries = []
    for number in range(7):
        with wave.open(str(root / "audio" / f"{number}.wav"), "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes(rng.integers(-9000, 9000, 11000, dtype=np.int16).tobytes())
        entries.append({"wav": f"{number}.wav", "labels": ["/t/a", "/t/a,/t/b", "/t/b"][number % 3]})
    (root / "audio" / "val.json").write_text(json.dumps({"data": entries}))
    return root


@pytest.fixture
def tiny_zoo(tiny_root: Path):
    """Root of a zoo of random models (tiny_image.test, ...), its cards registered; data lie in image/ and so on."""
    from tome_zoo import cards

    cards.register_cards(tiny_root / "cards")
    yield tiny_root
    cards.unregister_cards(tiny_root / "cards")

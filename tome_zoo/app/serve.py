"""Serve the app on this machine: nothing leaves it, and nothing stays behind."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tome_zoo.app.limits import MAX_MEGABYTES
from tome_zoo.cards import model_card
from tome_zoo.demo import write_data
from tome_zoo.errors import CardError, TomeZooError
from tome_zoo.registry import require_classifier
from tome_zoo.system.devices import choose_device
from tome_zoo.weights.fetch import fetch

EXAMPLES = {"image": ("shapes", "*.png"), "video": ("motions", "*.mp4"), "audio": ("sounds", "*.wav")}
N_EXAMPLES = 3


def serve(
    name: str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    device: str | None = None,
    open_browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Run the app until it is interrupted.

    Args:
        name: The model to begin with, fetched if need be; None takes an embedded one.
        host: Address to listen at; others than loopback let other machines in.
        port: None takes a free one from 7860 on.
        device: None means CUDA where there is a device, else the CPU.
        open_browser: Whether to open the page.
        ready: Called with the page's address.

    Raises:
        TomeZooError: If Gradio is not installed, the model has no classifier, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="tome-zoo-explore-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": f"{folder}/uploads", "GRADIO_ANALYTICS_ENABLED": "False"}
        try:
            import gradio  # noqa: F401 - reads the environment
        except ImportError:
            raise TomeZooError("expected Gradio, which is not installed: pip install 'tome-zoo[app]'") from None
        from tome_zoo.app.interface import CSS, build, theme
        from tome_zoo.app.models import Models, available_models

        if name is not None:
            _fetch(name)
        names = available_models()
        examples = write_examples(Path(folder) / "examples")
        blocks = build(names, name or "demo_image.shapes", examples, Models(choose_device(device)))
        blocks.queue(default_concurrency_limit=1)
        try:
            _, address, _ = blocks.launch(
                server_name=host, server_port=port, inbrowser=open_browser, share=False, quiet=True,
                prevent_thread_lock=True, ssr_mode=False, footer_links=[], enable_monitoring=False, run_history=False,
                max_file_size=f"{MAX_MEGABYTES}mb", allowed_paths=[f"{folder}/examples"], theme=theme(), css=CSS,
            )  # fmt: skip
        except OSError as error:
            raise TomeZooError(f"cannot serve at {host}, port {port or '7860 to 7959'}: {error}") from None
        try:
            if ready is not None:
                ready(address)
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)


def write_examples(folder: Path) -> dict[str, list[Path]]:
    """Files to try for each modality: the first of the demonstration's data."""
    found = {}
    for modality, (dataset, pattern) in EXAMPLES.items():
        root = write_data(dataset, folder / dataset, count=N_EXAMPLES)
        found[modality] = sorted(root.rglob(pattern))
    return found


def _fetch(name: str) -> None:
    """Bring the weights of a model here, before the app is there."""
    card = model_card(name)
    require_classifier(card)
    if card.weights is None:
        raise CardError(f"the card of {name} names no weights")
    fetch(card.weights)

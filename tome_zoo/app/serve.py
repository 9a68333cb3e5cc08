"""Serve the app on this machine: nothing leaves it, and nothing stays behind."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tome_zoo.app.limits import MAX_MEGABYTES
from tome_zoo.demo import write_data
from tome_zoo.errors import TomeZooError
from tome_zoo.system.devices import choose_device

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
        name: The model to begin with, of the zoo or of timm, fetched if need be; None takes an embedded one.
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

        models, first = Models(choose_device(device)), "demo_image.shapes"
        if name is not None:
            first = models.load(name).card.name  # its weights are fetched before the app is there
        names = sorted({*available_models(), first})
        blocks = build(names, first, write_examples(Path(folder) / "examples"), models)
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

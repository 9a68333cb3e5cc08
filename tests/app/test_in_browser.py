"""The app in a real browser: an example of each modality, a damaged file, and nothing that leaves or stays."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app(chromium, tmp_path_factory):
    """Address of a running app, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("app")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "NO_PROXY": "127.0.0.1,localhost"}
    command = [sys.executable, "-m", "tome_zoo.commands.app", "explore", "--no-open", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--device", "cpu"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    address = next((line.split()[0] for line in process.stderr if line.startswith("http")), None)
    assert address == f"http://127.0.0.1:{port}/"
    try:
        yield address, folder
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert [path for path in folder.iterdir() if not path.name.startswith("torchinductor")] == []


def choose_model(page, name):
    page.locator("#model input").click()
    page.get_by_role("option", name=name).click()


def look_at_example(page, suffix, number=0):
    page.locator("#example label", has_text=suffix).nth(number).click()
    page.wait_for_selector("#figures td")


def shown(page):
    return {part: page.locator(f"#{part}").inner_text() for part in ("figures", "merged")} | {
        "picture": page.locator("#picture img").get_attribute("src")
    }


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("demo_image.shapes", ".png"), ("demo_video.motions", ".mp4"), ("demo_audio.sounds", ".wav")],
)
def test_it_answers_for_each_modality(open_page, app, name, suffix):
    page = open_page(app[0])
    page.wait_for_selector("#example label")
    if name != "demo_image.shapes":
        choose_model(page, name)
    look_at_example(page, suffix)
    page.wait_for_selector("#picture img")
    before = shown(page)
    assert re.search(r"r = 0\s+\d+\s.*1\.00x", before["figures"])
    assert "%" in before["merged"]
    slider = page.locator("input[type=range]")
    slider.focus()
    page.keyboard.press("End")
    r = slider.get_attribute("max")
    page.wait_for_function(f"document.querySelector('#figures').innerText.includes('r = {r}')")
    page.wait_for_function("before => document.querySelector('#picture img').src !== before", arg=before["picture"])
    after = shown(page)
    assert all(after[part] != before[part] for part in before)
    assert page.faults == []


def test_a_damaged_file_is_a_message(open_page, app, tmp_path):
    page = open_page(app[0])
    page.wait_for_selector("#example label")
    path = tmp_path / "broken [abc] <b>.png"
    path.write_bytes(b"no picture")
    page.locator("#file input[type=file]").set_input_files(path)
    message = page.locator("#message [role=alert]")
    message.wait_for()
    assert "png" in message.inner_text()
    assert "<b>" not in message.inner_html()
    assert page.locator("#figures td").count() == 0
    page.locator("#file button[aria-label*=lear], #file button[aria-label*=emove]").first.click()
    look_at_example(page, ".png")
    assert message.count() == 0
    assert page.faults == []


def test_any_model_may_be_named(open_page, app):
    """Of timm: its card sets the controls. What nobody knows is a message, and the next name is taken."""
    page = open_page(app[0])
    page.wait_for_selector("#example label")
    box = page.locator("#model input")
    box.fill("no_such_model")
    box.press("Enter")
    message = page.locator("#message [role=alert]")
    message.wait_for()
    assert "no_such_model" in message.inner_text()
    box.fill("deit3_small_patch16_224")
    box.press("Enter")
    message.wait_for(state="detached")
    assert page.locator("input[type=range]").get_attribute("max") == "16"
    assert page.faults == []


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_both_widths_and_themes(open_page, app, width, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(app[0], width, theme)
    page.wait_for_selector("#example label")
    look_at_example(page, ".png", 1)
    page.wait_for_selector("#picture img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.run(page, options={"runOnly": ["color-contrast", "label", "button-name", "image-alt", "select-name"]})
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found.response["violations"]] == []
    assert page.faults == []

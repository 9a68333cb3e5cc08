"""What is shipped: one top-level name, with the cards and the embedded weights; a light import."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import tome_zoo

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source")
    for name in ("tome_zoo", "models", "datasets", "eval", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_one_top_level_name_and_all_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tome_zoo"}
    for kind in ("models", "datasets", "eval"):
        here = {path.name for path in (ROOT / kind).iterdir()}
        there = {name.rsplit("/", 1)[1] for name in names if name.startswith(f"tome_zoo/cards/{kind}/")}
        assert here == there
        assert not any(name.endswith(".py") for name in here)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_works_from_another_folder(wheel, tmp_path):
    """Installed from the wheel, away from the checkout, cards and weights are found."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel],
        check=True,
        capture_output=True,
    )
    code = (
        "import tome_zoo, pathlib, torch;"
        f"assert pathlib.Path(tome_zoo.__file__).is_relative_to({str(site)!r}), tome_zoo.__file__;"
        "m = tome_zoo.create_model('demo_image.shapes', pretrained=True, r=4);"
        "print(m(torch.zeros(1, 3, *m.card.architecture.size)).shape[-1], len(m.labels))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(site)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["10", "10"]


def test_the_embedded_weights_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "models").glob("*.safetensors")) < 12e6


def test_version_and_names():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tome_zoo.__version__ == pyproject["project"]["version"]
    for name in tome_zoo.__all__:
        assert callable(getattr(tome_zoo, name))
        assert name in dir(tome_zoo)
    with pytest.raises(AttributeError, match="create_model"):
        tome_zoo.nothing  # noqa: B018


@pytest.mark.parametrize("code", ["import tome_zoo, tome_zoo.cards", "import tome_zoo.commands.app"])
def test_light_imports(code):
    """Neither torch nor anything that decodes is loaded before it is needed."""
    heavy = "{'torch', 'timm', 'torchvision', 'torchaudio', 'av', 'decord', 'matplotlib', 'sklearn'}"
    check = f"{code}; import sys; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

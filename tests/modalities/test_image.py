"""Reading and preprocessing of images."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision import transforms

from tome_zoo import modalities
from tome_zoo.errors import CardError, MediaError
from tome_zoo.modalities import image


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    return coarse.resize((83, 57), Image.Resampling.BICUBIC)


def test_it_is_the_modality_called_image():
    assert modalities.get("image") is image
    with pytest.raises(CardError, match="did you mean 'image'"):
        modalities.get("images")


@pytest.mark.parametrize("img_size", [32, 36, (32, 48), (48, 32)])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(83, 57), (57, 83), (64, 64), (20, 21), (300, 30), (126, 353)])
def test_views_equal_timms_transform_exactly(picture, image_spec, views_of, img_size, crop_pct, interpolation, shape):
    spec = image_spec(img_size, crop_pct=crop_pct, interpolation=interpolation)
    transform = create_transform(
        input_size=(3, *spec.architecture.size),
        interpolation=interpolation,
        crop_pct=crop_pct,
        mean=spec.input.mean,
        std=spec.input.std,
    )
    picture = picture.resize(shape)
    views = image.views(picture, spec, views_of())
    assert views.shape == (1, 3, *spec.architecture.size)
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    assert torch.equal(views[0], transform(picture))


def test_views_equal_the_transform_of_masked_autoencoders_exactly(picture, image_spec, views_of):
    spec = image_spec(224)
    reference = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(spec.input.mean, spec.input.std),
        ]
    )
    assert torch.equal(image.views(picture, spec, views_of())[0], reference(picture))


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tiff"])
def test_lossless_files_come_back_exactly(tmp_path, picture, suffix):
    picture.save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(np.asarray(image.read(tmp_path / f"a.{suffix}")), np.asarray(picture))


def test_cmyk_becomes_rgb(tmp_path, picture):
    picture.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    found = image.read(tmp_path / "a.jpg")
    assert found.mode == "RGB"
    assert np.abs(np.asarray(found).astype(int) - np.asarray(picture)).mean() < 6


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    values = np.linspace(0, 65535, 256 * 4).reshape(16, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    found = np.asarray(image.read(tmp_path / name))
    assert np.array_equal(found, np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_palette_with_transparency_keeps_its_colours(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], dtype=np.uint8)
    Image.fromarray(colours).quantize(4).save(tmp_path / "a.png", transparency=b"\x00\x80\xff\x10")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "P"
    assert np.array_equal(np.asarray(image.read(tmp_path / "a.png")), colours)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "YCbCr", "LAB"])
def test_other_modes_become_rgb(tmp_path, picture, mode):
    converted = Image.merge("LAB", picture.split()) if mode == "LAB" else picture.convert(mode)
    converted.save(tmp_path / "a.tiff", compression="tiff_lzw")  # some Pillows write raw YCbCr wrongly
    assert image.read(tmp_path / "a.tiff").mode == "RGB"


def test_an_exif_orientation_is_not_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert image.read(tmp_path / "a.jpg").size == picture.size


def test_the_first_frame_of_an_animation_is_taken(tmp_path, picture):
    picture.save(tmp_path / "a.webp", save_all=True, append_images=[Image.new("RGB", picture.size)], lossless=True)
    assert np.array_equal(np.asarray(image.read(tmp_path / "a.webp")), np.asarray(picture))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_truncated_and_damaged_images_are_refused(tmp_path, picture, suffix):
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    whole = path.read_bytes()
    for part in (len(whole) // 2, 40, 9):
        path.write_bytes(whole[:part])
        with pytest.raises(MediaError, match=r"a\.\w+: (damaged|no image)"):
            image.read(path)


def test_text_an_empty_file_a_folder_and_nothing_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("no image at all")
    (tmp_path / "empty.png").touch()
    for name, message in [("text.png", "Pillow"), ("empty.png", "empty"), ("", "folder"), ("none.png", "no such file")]:
        with pytest.raises(MediaError, match=message):
            image.read(tmp_path / name)


def test_pixels_without_an_agreed_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    Image.fromarray(np.full((4, 4), 1 << 20, dtype=np.int32)).save(tmp_path / "int.tiff")
    for name in ("float.tiff", "int.tiff"):
        with pytest.raises(MediaError, match="no agreed range"):
            image.read(tmp_path / name)


def _bomb(path: Path, side: int) -> None:
    """A PNG that claims a huge size; a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_decompression_bombs_are_refused(tmp_path):
    _bomb(tmp_path / "bomb.png", 20_000)
    with pytest.raises(MediaError, match=r"bomb\.png.*scale it down"):
        image.read(tmp_path / "bomb.png")


def test_large_images_are_read_without_a_warning(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # Pillow warns from there, and refuses from twice that
    picture.save(tmp_path / "a.png")
    assert image.read(tmp_path / "a.png").size == picture.size


def test_several_views_and_other_channels_are_refused(picture, image_spec, views_of):
    for protocol in (views_of(2, 1), views_of(1, 3)):
        with pytest.raises(CardError, match="views must be 1"):
            image.views(picture, image_spec(), protocol)
    with pytest.raises(CardError, match="in_chans = 1"):
        image.views(picture, image_spec(in_chans=1), views_of())


def test_images_that_would_explode_when_scaled_are_refused(image_spec, views_of):
    with pytest.raises(MediaError, match="too long and narrow"):
        image.views(Image.new("RGB", (200_000, 1)), image_spec(), views_of())


def test_a_card_of_another_modality_is_refused(picture, audio_spec, views_of):
    with pytest.raises(CardError, match="expected a model with ImageInput, got one with AudioInput"):
        image.views(picture, audio_spec(), views_of())


def test_reading_leaves_no_file_open(tmp_path, picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    image.read(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()


def test_the_token_grid_is_that_of_the_patch_embedding(image_spec):
    spec = image_spec((32, 48))
    embed = image.embed_layer(spec.architecture)(img_size=(32, 48), patch_size=4, in_chans=3, embed_dim=8)
    assert image.token_grid(spec) == (1, 8, 12)
    assert embed.num_patches == 96


def test_overlapping_patches(image_spec):
    spec = image_spec(32)
    architecture = spec.architecture.model_copy(update={"patch_stride": 3})
    embed = image.embed_layer(architecture)(img_size=32, patch_size=4, in_chans=3, embed_dim=8)
    assert embed.grid_size == architecture.grid[1:] == (10, 10)
    assert embed.feat_ratio() == 3
    x = torch.randn(2, 3, 32, 32)
    tokens = embed(x)
    assert tokens.shape == (2, 100, 8)
    row, column = 7, 4
    patch = x[1, :, 3 * row : 3 * row + 4, 3 * column : 3 * column + 4]
    expected = (embed.proj.weight * patch).sum((1, 2, 3)) + embed.proj.bias
    torch.testing.assert_close(tokens[1, row * 10 + column], expected)

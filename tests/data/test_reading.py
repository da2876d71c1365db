from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from automl_ad.bundle import runtime
from automl_ad.data.reading import FORMATS, ImageInfo, probe, read_image, white_level_of
from automl_ad.errors import InputError


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 12, columns * 8, 255 - rows * 6 - columns * 4], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "PNG"])
def test_lossless_rgb_comes_back_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(gradient()).save(path)
    np.testing.assert_array_equal(read_image(path), gradient())


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_rgb_comes_back_nearly_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(gradient()).save(path, quality=95)
    assert np.abs(read_image(path).astype(int) - gradient()).mean() < 4


def test_grey_is_repeated_over_the_channels(tmp_path: Path) -> None:
    grey = gradient()[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    bits = gradient()[:, :, 0] > 100
    Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 1], np.where(bits, 255, 0))
    assert probe(tmp_path / "a.png").bit_depth == 1


def test_transparency_is_ignored(tmp_path: Path) -> None:
    alpha = np.full((20, 30, 1), 7, np.uint8)
    Image.fromarray(np.concatenate([gradient(), alpha], axis=2)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), gradient())


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80"])
def test_palette_colours_are_looked_up(tmp_path: Path, transparency: int | bytes | None) -> None:
    indexed = Image.fromarray(np.tile(np.array([[0, 1], [2, 0]], np.uint8), (4, 4)), mode="P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    extra = {} if transparency is None else {"transparency": transparency}
    indexed.save(tmp_path / "a.png", **extra)
    assert probe(tmp_path / "a.png").mode == "P"
    expected = np.tile(np.array([[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [10, 20, 30]]]), (4, 4, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").reshape(-1, 3).tolist() == [[255, 0, 0]] * 48


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("white", [1023, 65535])
def test_16_bit_grey_is_scaled_by_its_white(tmp_path: Path, suffix: str, white: int) -> None:
    values = np.array([[0, white // 2], [white, white // 4]], np.uint16)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), values)
    expected = np.rint(values / white * 255)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}", white)[:, :, 2], expected)
    assert probe(tmp_path / f"a.{suffix}").bit_depth == 16


def test_16_bit_grey_without_a_white_level_counts_65535_as_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[65535, 257]], np.uint16))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [255, 1]


def test_big_endian_16_bit_grey(tmp_path: Path) -> None:
    values = np.array([[0, 4095, 2048]], np.uint16)
    Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes()).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", 4095)[0, :, 0].tolist() == [0, 255, 128]


def test_values_beyond_white_are_clipped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[5000]], np.uint16))
    assert read_image(tmp_path / "a.png", 4095).max() == 255


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_keeps_its_lower_bits(tmp_path: Path, suffix: str, alpha: bool) -> None:
    # With white at 1023 every value lies in the lower bits, which an 8-bit reader would throw away.
    rgb = np.array([[[1023, 0, 512], [4, 8, 400]]], np.uint16)
    stored = np.concatenate([rgb[:, :, ::-1], np.full((1, 2, 1), 9, np.uint16)], axis=2) if alpha else rgb[:, :, ::-1]
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), stored)
    np.testing.assert_array_equal(read_image(path, 1023), np.rint(rgb / 1023 * 255))
    assert probe(path).bit_depth == 16
    assert probe(path).mode.endswith(";16")


def test_32_bit_integers_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 200]], np.int32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", 200)[0, :, 0].tolist() == [0, 128, 255]
    assert probe(tmp_path / "a.tif").bit_depth == 32


def test_floating_point_is_refused_with_a_remedy(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif holds floating-point.*8-bit or 16-bit"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    image = Image.fromarray(gradient())
    exif = image.getexif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    read = read_image(path)
    np.testing.assert_array_equal(read, expected)
    assert probe(path) == ImageInfo(read.shape[1], read.shape[0], "RGB", 8)
    assert (read.shape[0] > read.shape[1]) == (orientation > 4)


def deep_tiff(values: np.ndarray, orientation: int) -> bytes:
    """Uncompressed 16-bit colour with an orientation, which neither Pillow nor OpenCV can write."""
    height, width = values.shape[:2]
    data = values.astype("<u2").tobytes()
    shorts = {259: 1, 262: 2, 274: orientation, 277: 3}  # no compression, RGB, orientation, 3 channels
    longs = {256: width, 257: height, 273: 8, 278: height, 279: len(data)}
    entries = {tag: (3, 1, value) for tag, value in shorts.items()} | {
        tag: (4, 1, value) for tag, value in longs.items()
    }
    entries[258] = (3, 3, 8 + len(data))
    directory = b"".join(struct.pack("<HHII", tag, *entries[tag]) for tag in sorted(entries))
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data) + 6)
    return start + data + struct.pack("<3H", 16, 16, 16) + struct.pack("<H", len(entries)) + directory + bytes(4)


@pytest.mark.parametrize(("orientation", "turned"), [(1, slice(None)), (4, slice(None, None, -1))])
def test_16_bit_colour_tiff_is_turned_once(tmp_path: Path, orientation: int, turned: slice) -> None:
    values = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    (tmp_path / "a.tif").write_bytes(deep_tiff(values, orientation))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 255), values[turned])


def test_16_bit_colour_tiff_on_its_side_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(deep_tiff(np.zeros((2, 3, 3)), 6))
    assert probe(tmp_path / "a.tif") == ImageInfo(2, 3, "RGB;16", 16)
    with pytest.raises(InputError, match="save it upright"):
        read_image(tmp_path / "a.tif")


def test_of_several_pages_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (4, 4), (1, 2, 3)), Image.new("RGB", (4, 4), (9, 9, 9))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [1, 2, 3]


def noise_file(path: Path, dtype: type = np.uint8) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(dtype)
    cv2.imwrite(str(path), noise)
    return path.read_bytes()


def test_only_formats_that_pillow_decodes_itself_are_read(tmp_path: Path) -> None:
    """Of an EPS file, whatever it is called, Pillow would start another program."""
    path = tmp_path / "part.png"
    Image.new("L", (8, 8)).save(path, "EPS")
    with pytest.raises(InputError, match="is not an image"):
        read_image(path)
    assert set(FORMATS) == set(runtime._FORMATS)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest replaces the filter of the module
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"part.{suffix}"
    content = noise_file(path)
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="part") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_16_bit_colour_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = noise_file(path, np.uint16)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, probe])
def test_other_unusable_files_are_refused_with_their_own_remedy(tmp_path: Path, read: object) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    remedies = {"text": "is not an image", "empty": "is empty", "folder": "is a folder", "missing": "does not exist"}
    for name, remedy in remedies.items():
        with pytest.raises(InputError, match=rf"{name}\.png {remedy}"):
            read(tmp_path / f"{name}.png")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [13_400, 60_000])
def test_enormous_images_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with pytest.raises(InputError, match=r"bomb\.png has more than 178 megapixels"):
        read_image(tmp_path / "bomb.png")


def test_the_image_libraries_write_nothing_on_stderr(tmp_path: Path) -> None:
    """Python's warnings apart, which the caller of the library shows or hides."""
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))
    content = noise_file(tmp_path / "cut.tif", np.uint16)
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("P", (4, 4)).save(tmp_path / "palette.png", transparency=b"\x01\x02")
    script = (
        "import sys; from pathlib import Path; from automl_ad.data.reading import probe, read_image\n"
        "from automl_ad.errors import InputError\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    for read in (probe, read_image):\n"
        "        try: read(path)\n"
        "        except InputError: pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    files = [str(tmp_path / name) for name in ("large.png", "cut.tif", "text.jpg", "palette.png")]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@given(content=st.binary(max_size=300), cut=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_no_content_raises_anything_but_input_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.png"
    path.write_bytes(png_header(4, 4)[:cut] + content)
    # What the bytes happen to hold does not matter, only that no other error comes out.
    with contextlib.suppress(InputError):
        assert read_image(path).shape[2] == 3


@pytest.mark.parametrize(
    ("largest", "white"), [(1000, 1023), (1023, 1023), (1024, 4095), (5000, 16383), (60000, 65535)]
)
def test_white_level_is_the_smallest_that_holds_the_largest_value(tmp_path: Path, largest: int, white: int) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((4, 4), largest - i, np.uint16))
    assert white_level_of(paths) == white


def test_white_level_passes_over_8_bit_and_unreadable_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4), 200, np.uint8))
    (tmp_path / "b.png").write_text("no image")
    assert white_level_of([tmp_path / "a.png", tmp_path / "b.png"]) == 65535
    cv2.imwrite(str(tmp_path / "c.png"), np.full((4, 4), 4000, np.uint16))
    assert white_level_of(sorted(tmp_path.iterdir())) == 4095

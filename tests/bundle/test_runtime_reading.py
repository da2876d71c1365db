from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from automl_ad.bundle import runtime
from automl_ad.bundle.runtime import list_sources, prepare
from automl_ad.data.preprocessing import Preprocessing
from automl_ad.data.reading import read_deep_colour, read_image
from automl_ad.errors import InputError


def gradient(height: int = 20, width: int = 30) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 12, columns * 8, 255 - rows * 6 - columns * 4], axis=2).clip(0, 255).astype(np.uint8)


def palette() -> Image.Image:
    indexed = Image.fromarray(np.tile(np.array([[0, 1], [2, 0]], np.uint8), (4, 4)))
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    return indexed


def big_endian() -> Image.Image:
    values = np.array([[0, 4095, 2048], [700, 1, 65535]], ">u2")
    return Image.frombytes("I;16B", (3, 2), values.tobytes())


def rgba() -> Image.Image:
    return Image.fromarray(np.concatenate([gradient(), gradient()[:, :, :1]], axis=2))


DRAWN: dict[str, tuple[str, Callable[[], Image.Image], dict[str, Any]]] = {
    "rgb": ("png", lambda: Image.fromarray(gradient()), {}),
    "bmp": ("bmp", lambda: Image.fromarray(gradient()), {}),
    "jpeg": ("jpg", lambda: Image.fromarray(gradient()), {"quality": 80}),
    "webp": ("webp", lambda: Image.fromarray(gradient()), {}),
    "grey": ("png", lambda: Image.fromarray(gradient()[:, :, 0]), {}),
    "grey jpeg": ("jpg", lambda: Image.fromarray(gradient()[:, :, 0]), {}),
    "grey and alpha": ("png", lambda: rgba().convert("LA"), {}),
    "rgba": ("png", rgba, {}),
    "rgba webp": ("webp", rgba, {"lossless": True}),
    "palette": ("png", palette, {}),
    "palette and a colour": ("png", palette, {"transparency": 1}),
    "palette and levels": ("png", palette, {"transparency": b"\x00\x80"}),
    "palette gif": ("gif", palette, {"transparency": 2}),
    "one bit": ("png", lambda: Image.fromarray(gradient()[:, :, 0] > 100), {}),
    "one bit tiff": ("tif", lambda: Image.fromarray(gradient()[:, :, 0] > 100), {"compression": "group4"}),
    "cmyk": ("tif", lambda: Image.fromarray(gradient()).convert("CMYK"), {}),
    "cmyk jpeg": ("jpg", lambda: Image.fromarray(gradient()).convert("CMYK"), {}),
    "16 bits": ("png", lambda: Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109), {}),
    "16 bits tiff": ("tif", lambda: Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109), {}),
    "16 bits big-endian": ("tif", big_endian, {}),
    "32 bits": ("tif", lambda: Image.fromarray(np.arange(600, dtype=np.int32).reshape(20, 30) - 9), {}),
    "pages": (
        "tif",
        lambda: Image.fromarray(gradient()),
        {"save_all": True, "append_images": [Image.new("RGB", (4, 4))]},
    ),
}


@pytest.mark.parametrize("white_level", [500, 4095, 65535])
@pytest.mark.parametrize("name", DRAWN)
def test_the_pixels_are_those_that_the_search_saw(tmp_path: Path, name: str, white_level: int) -> None:
    suffix, draw, options = DRAWN[name]
    path = tmp_path / f"a.{suffix}"
    draw().save(path, **options)
    read = runtime.read_image(path, white_level)
    assert (read.dtype, read.flags.c_contiguous) == (np.uint8, True)
    assert np.ptp(read) > 0
    np.testing.assert_array_equal(read, read_image(path, white_level))


@pytest.mark.parametrize("orientation", [0, *range(1, 10)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_are_turned_upright_as_the_search_does(tmp_path: Path, orientation: int, suffix: str) -> None:
    image = Image.fromarray(gradient())
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    read = runtime.read_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read, read_image(tmp_path / f"a.{suffix}"))
    assert (read.shape[0] > read.shape[1]) == (orientation in (5, 6, 7, 8))


def test_deep_grey_is_turned_too(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 109)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert runtime.read_image(tmp_path / "a.png").shape == (30, 20, 3)
    np.testing.assert_array_equal(runtime.read_image(tmp_path / "a.png"), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("via", [None, (64, 96), (40, 200)])
@pytest.mark.parametrize("shape", [(20, 30), (500, 333), (64, 96)])
def test_preparing_is_the_preprocessing_of_the_search(shape: tuple[int, int], via: tuple[int, int] | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    search = Preprocessing(height=32, width=64, via=via)
    prepared = prepare(image, search.model_dump(mode="json"))
    assert prepared.shape == (32, 64, 3)
    np.testing.assert_array_equal(prepared.transpose(2, 0, 1), search.apply(image))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_refused_with_a_remedy(tmp_path: Path, suffix: str, channels: int) -> None:
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.full((4, 4, channels), 300, np.uint16))
    with pytest.raises(InputError, match=r"16-bit colour, .* save it as 8-bit RGB, or pass its pixels as an array"):
        runtime.read_image(tmp_path / f"a.{suffix}")


def test_16_bit_grey_with_transparency_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 4, b"\x00" + bytes(8)))
    with pytest.raises(InputError, match="16-bit colour"):
        runtime.read_image(tmp_path / "a.png")


def unusable(folder: Path) -> list[Path]:
    content = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))[1].tobytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    Image.fromarray(np.ones((4, 4), np.float32)).save(folder / "float.tif")
    for side in (13_400, 60_000):
        (folder / f"huge{side}.png").write_bytes(png(side, side, 8, 2, b""))
    return [*sorted(folder.iterdir()), folder / "missing.png"]


def test_unusable_files_are_refused_in_the_words_of_the_search(tmp_path: Path) -> None:
    paths = unusable(tmp_path)
    for path in paths:
        with pytest.raises(InputError) as here:
            runtime.read_image(path)
        with pytest.raises(InputError) as there:
            read_image(path)
        assert str(here.value) == str(there.value)
        assert "\n" not in str(here.value)
    assert len(paths) == 8


def test_a_format_that_another_program_would_decode_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(InputError, match="is not an image"):
        runtime.read_image(tmp_path / "a.png")


@given(content=st.binary(max_size=300), cut=st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_no_content_raises_anything_but_input_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "runtime_fuzz.png"
    path.write_bytes(png(4, 4, 8, 2, b"")[:cut] + content)
    with contextlib.suppress(InputError):
        assert runtime.read_image(path).shape[2] == 3


def test_a_folder_is_searched_and_sorted_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.tif", "a/.hidden.png", ".git/x.png", "notes.txt", "a/y.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / "a" / "y.jpeg", tmp_path / "a" / "z.tif", tmp_path / "b.PNG"]
    assert list_sources(tmp_path) == list_sources(str(tmp_path)) == expected


def test_every_image_of_every_array_counts() -> None:
    four = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    sources = list_sources([four[:3], Path("x.png"), four[3]])
    assert sources[3] == Path("x.png")
    for i, image in zip((0, 1, 2, 4), four, strict=True):
        np.testing.assert_array_equal(sources[i], image)
    assert len(list_sources(four)) == 4


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        (np.full((64, 64, 3), np.nan), r"float64 \[64, 64, 3\], whose values have no known white: convert it to uint8"),
        (np.zeros((64, 64), np.int64), r"int64 \[64, 64\], whose values have no known white"),
        (np.zeros((2, 3, 64, 64), np.uint8), r"uint8 \[2, 3, 64, 64\], whose channels come first: move them last"),
        (np.zeros((2, 5, 64, 64), np.uint8), r"uint8 \[2, 5, 64, 64\], which is no image: give grey \[H, W\]"),
        (np.zeros((64, 64, 2), np.uint8), r"uint8 \[64, 64, 2\], whose two channels have no known meaning: give grey"),
        (np.zeros(64, np.uint8), r"uint8 \[64\], which is no image"),
        (np.zeros((0, 64, 3), np.uint8), r"uint8 \[0, 64, 3\], which has no pixels"),
        ([np.zeros((64, 0), np.uint16)], r"uint16 \[64, 0\], which has no pixels"),
        ([3], "one is int: give grey"),
        (None, "one is NoneType: give grey"),
    ],
)
def test_arrays_of_another_kind_are_refused_for_what_is_wrong(images: Any, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        list_sources(images)


@pytest.mark.parametrize(
    ("shape", "count", "each"),
    [
        ((20, 30), 1, (20, 30)),
        ((20, 30, 1), 1, (20, 30)),
        ((20, 30, 3), 1, (20, 30, 3)),
        ((20, 30, 4), 1, (20, 30, 4)),
        ((5, 20, 30), 5, (20, 30)),
        ((3, 20, 30), 3, (20, 30)),  # only the last dimension can be channels
        ((5, 20, 30, 1), 5, (20, 30)),
        ((5, 20, 30, 3), 5, (20, 30, 3)),
        ((5, 20, 30, 4), 5, (20, 30, 4)),
    ],
)
def test_dimensions_of_arrays(shape: tuple[int, ...], count: int, each: tuple[int, ...]) -> None:
    found = [source for source in list_sources(np.zeros(shape, np.uint16)) if isinstance(source, np.ndarray)]
    assert [source.shape for source in found] == [each] * count


HOW = {"white_level": 4095, "black_level": 95, "background": 40}


def picture(source: Path | npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    with runtime._picture(source, HOW, read_deep=read_deep_colour) as found:
        return runtime._as_array(found.image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_arrays_are_read_as_files_of_that_kind(tmp_path: Path, dtype: type, channels: int | None) -> None:
    if dtype is np.bool_ and channels:
        pytest.skip("no file holds that")
    rng = np.random.default_rng(0)
    shape = (20, 30) if channels is None else (20, 30, channels)
    values = rng.integers(0, 2 if dtype is np.bool_ else np.iinfo(dtype).max + 1, shape).astype(dtype)
    path = tmp_path / "a.png"
    if dtype is np.uint16 and channels:
        cv2.imwrite(str(path), values[..., [2, 1, 0, 3][:channels]])
    else:
        Image.fromarray(values).save(path)
    (source,) = list_sources(values)
    np.testing.assert_array_equal(picture(source), picture(path))


def test_nothing_to_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        list_sources(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        list_sources(tmp_path / "absent.png")
    nothings: list[Any] = [[], (), np.zeros((0, 64, 64, 3), np.uint8)]
    for nothing in nothings:
        with pytest.raises(InputError, match="There are no images"):
            list_sources(nothing)


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (PermissionError(13, "Permission denied"), "may not be read: give this user permission to read it"),
        (MemoryError(), "does not fit in the free memory: close other programs"),
    ],
)
def test_faults_of_the_machine_have_their_own_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, remedy: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    Image.fromarray(gradient()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(InputError, match=remedy):
        runtime.read_image(tmp_path / "a.png")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(path: Path, onerror: Callable[[OSError], None]) -> list[None]:
        onerror(PermissionError(13, "Permission denied", str(path)))
        return []

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\): give this user permission"):
        list_sources(tmp_path)

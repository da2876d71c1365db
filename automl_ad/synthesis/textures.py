"""Foreign textures: procedural, from the user's images, or shuffled tiles of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from automl_ad.data.listing import list_images
from automl_ad.data.reading import WHITE_LEVELS, probe, read_image, white_level_of
from automl_ad.errors import InputError

Field = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

_MOST_FILES = 1000


def procedural_texture(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """A procedural texture: clouds, stripes, checks, dots, wood, speckle or a gradient in random colours.

    Args:
        shape: (H, W).
        rng: Draws pattern, scale, angle and colours.

    Returns:
        uint8 [H, W, 3].
    """
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    return _colourise(pattern(shape, rng), rng)


def shuffled_tiles(image: Image, rng: np.random.Generator) -> Image:
    """The image cut into 4x4 or 8x8 tiles in random order: a texture of the product's own material.

    Args:
        image: uint8 [H, W, 3], sides divisible by 8.
        rng: Draws the number of tiles and their order.

    Returns:
        uint8 [H, W, 3].
    """
    per_side = int(rng.choice((4, 8)))
    h, w = image.shape[0] // per_side, image.shape[1] // per_side
    tiles = image.reshape(per_side, h, per_side, w, 3).swapaxes(1, 2).reshape(-1, h, w, 3)
    shuffled = tiles[rng.permutation(len(tiles))].reshape(per_side, per_side, h, w, 3)
    return np.ascontiguousarray(shuffled.swapaxes(1, 2).reshape(image.shape))


@dataclass(frozen=True)
class TextureFolder:
    """The user's own texture images.

    Attributes:
        files: Image files, sorted, at least one.
        white_level: Value of white in files with more than 8 bits.
    """

    files: tuple[Path, ...]
    white_level: int = WHITE_LEVELS[-1]

    @classmethod
    def open(cls, folder: Path) -> TextureFolder:
        """Lists the images in a folder and its sub-folders, ignoring files without a readable image header.

        Of more than 1000 files, 1000 evenly spaced ones are used, which is more than a suite draws.

        Raises:
            InputError: The folder is missing or cannot be listed, or contains no readable image.
        """
        if not folder.is_dir():
            raise InputError(f"The texture folder {folder} does not exist: name a folder of images or leave it out.")
        listed = list_images(folder)
        if not listed:
            raise InputError(f"The texture folder {folder} holds no image: put images into it or leave it out.")
        picks = np.linspace(0, len(listed) - 1, min(len(listed), _MOST_FILES)).astype(int)
        depths = {listed[i]: _bit_depth(listed[i]) for i in picks}
        files = tuple(path for path, depth in depths.items() if depth)
        if not files:
            raise InputError(f"The texture folder {folder} holds no readable image: replace its files or leave it out.")
        return cls(files, white_level_of([path for path in files if depths[path] > 8]))

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Image:
        """A random crop of a random file, resized to uint8 [H, W, 3] of that (H, W).

        A file that cannot be read is replaced by the next one.

        Raises:
            InputError: No file can be read as an image.
        """
        start = int(rng.integers(len(self.files)))
        images = map(self._read, self.files[start:] + self.files[:start])
        image = next((image for image in images if image is not None), None)
        if image is None:
            raise InputError(f"No texture such as {self.files[start]} can be read: replace them or leave them out.")
        return _random_crop(image, shape, rng)

    def _read(self, path: Path) -> Image | None:
        try:
            return read_image(path, self.white_level)
        except InputError:
            return None


def _bit_depth(path: Path) -> int:
    """Bits a channel; 0 where the header cannot be read."""
    try:
        return probe(path).bit_depth
    except InputError:
        return 0


def _random_crop(image: Image, shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Crops a window of the target aspect, of half to full possible size, and resizes it to the shape."""
    largest = min(image.shape[0] / shape[0], image.shape[1] / shape[1])
    scale = largest * float(rng.uniform(0.5, 1.0))
    h, w = max(1, int(shape[0] * scale)), max(1, int(shape[1] * scale))
    top, left = (int(rng.integers(0, room + 1)) for room in (image.shape[0] - h, image.shape[1] - w))
    window = image[top : top + h, left : left + w]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (shape[1], shape[0]), interpolation=method), np.uint8)


def _colourise(values: Field, rng: np.random.Generator) -> Image:
    """Maps a field of any range onto a ramp through 2 to 4 random colours."""
    low, high = float(values.min()), float(values.max())
    levels = ((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    stops = rng.uniform(0, 255, (int(rng.integers(2, 5)), 3))
    places = np.linspace(0, 255, len(stops))
    ramp = np.stack([np.interp(np.arange(256), places, stops[:, channel]) for channel in range(3)], axis=1)
    return np.asarray(cv2.LUT(cv2.merge([levels] * 3), ramp.astype(np.uint8)[None]), np.uint8)


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Octaves of smooth value noise, each twice as fine and weaker by a random factor."""
    cells, strength, keep = int(rng.integers(2, 9)), 1.0, float(rng.uniform(0.4, 0.8))
    total = np.zeros(shape, np.float32)
    while cells <= min(shape) and strength > 0.05:
        lattice = rng.uniform(-strength, strength, (cells, cells)).astype(np.float32)
        total += cv2.resize(lattice, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
        cells, strength = 2 * cells, strength * keep
    return total


def _rotated_axes(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Field, Field]:
    """Two orthogonal coordinates in a random direction, in units of the shorter side, float32 [H, W] each."""
    angle = rng.uniform(0, np.pi)
    y = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(min(shape))
    x = np.arange(shape[1], dtype=np.float32)[None, :] / np.float32(min(shape))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _stripes(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    u, _ = _rotated_axes(shape, rng)
    waviness = np.float32(rng.uniform(0, 0.5)) * _clouds(shape, rng)
    return np.asarray(np.sin(np.float32(2 * np.pi * rng.uniform(4, 40)) * u + waviness), np.float32)


def _checks(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    u, v = _rotated_axes(shape, rng)
    count = np.float32(np.pi * rng.uniform(4, 24))
    return np.asarray((np.sign(np.sin(count * u)) * np.sign(np.sin(count * v))), np.float32)


def _dots(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    u, v = _rotated_axes(shape, rng)
    count = np.float32(2 * np.pi * rng.uniform(4, 24))
    return np.asarray(np.clip(np.cos(count * u) + np.cos(count * v) - np.float32(rng.uniform(0, 1)), 0, 1), np.float32)


def _wood(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    u, v = _rotated_axes(shape, rng)
    rings = np.hypot(u - np.float32(rng.uniform(0, 1)), np.float32(0.15) * v)
    warp = np.float32(rng.uniform(0.02, 0.1)) * _clouds(shape, rng)
    return np.asarray(np.sin(np.float32(2 * np.pi * rng.uniform(5, 25)) * (rings + warp)), np.float32)


def _speckle(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    noise = rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.5, 3.0))), np.float32)


def _gradient(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    u, _ = _rotated_axes(shape, rng)
    return np.asarray(u + np.float32(0.05) * _clouds(shape, rng), np.float32)


_PATTERNS: tuple[Callable[[tuple[int, int], np.random.Generator], Field], ...] = (
    _clouds,
    _stripes,
    _checks,
    _dots,
    _wood,
    _speckle,
    _gradient,
)

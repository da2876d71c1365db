"""Drawn parts and textures of several kinds, float32 [96, 96, 3] in grey levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 96
Image = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator], Image]


def _finished(image: npt.NDArray[np.float32], rng: np.random.Generator, noise: float = 4) -> Image:
    return np.asarray(image * rng.uniform(0.96, 1.04) + rng.normal(0, noise, image.shape))


def ring(rng: np.random.Generator, hue: tuple[int, int, int] = (170, 165, 150), radius: float = 34) -> Image:
    image = np.full((SIDE, SIDE, 3), 40, np.float32)
    centre = tuple(round(x) for x in 48 * 16 + rng.uniform(-24, 24, 2))  # in sixteenths of a pixel
    cv2.circle(image, centre, round(radius * 16), hue, -1, cv2.LINE_AA, shift=4)
    cv2.circle(image, centre, 10 * 16, (20, 20, 20), -1, cv2.LINE_AA, shift=4)
    return _finished(image, rng)


def bars(rng: np.random.Generator) -> Image:
    image = np.full((SIDE, SIDE, 3), 200, np.float32)
    for top in range(16, 80, 18):
        top += int(rng.integers(-1, 2))
        image[top : top + 6, 15:80] = (60, 70, 80)
    return _finished(image, rng)


def plate(rng: np.random.Generator) -> Image:
    image = np.full((SIDE, SIDE, 3), 60, np.float32)
    x, y = (int(16 * v) for v in rng.uniform(-1.5, 1.5, 2))
    cv2.rectangle(image, (192 + x, 288 + y), (1344 + x, 1248 + y), (120, 130, 140), -1, cv2.LINE_AA, 4)
    for across, down in ((400, 500), (1100, 1000)):
        cv2.circle(image, (across + x, down + y), 96, (15, 15, 15), -1, cv2.LINE_AA, 4)
    return _finished(image, rng)


def grain(rng: np.random.Generator, sigma: float = 2) -> Image:
    texture = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), sigma)
    return _finished(np.repeat((120 + 25 * texture / texture.std())[:, :, None], 3, 2).astype(np.float32), rng)


def weave(rng: np.random.Generator, pitch: float = 8) -> Image:
    down, across = np.mgrid[:SIDE, :SIDE]
    phases = rng.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * across / pitch + phases[0]) * np.sin(2 * np.pi * down / pitch + phases[1])
    return _finished(np.repeat((120 + 30 * waves)[:, :, None], 3, 2).astype(np.float32), rng)


def arm(rng: np.random.Generator, most: float = 180) -> Image:
    image = np.full((SIDE, SIDE, 3), 110, np.float32)
    cv2.circle(image, (48, 48), 24, (170, 175, 170), -1, cv2.LINE_AA)
    cv2.rectangle(image, (48, 43), (84, 53), (220, 220, 215), -1)
    return _finished(rotated(image, rng.uniform(-most, most)), rng)


def tee(rng: np.random.Generator, most: float = 180) -> Image:
    image = np.full((SIDE, SIDE, 3), 200, np.float32)
    cv2.rectangle(image, (26, 26), (70, 38), (90, 60, 40), -1)
    cv2.rectangle(image, (42, 38), (54, 76), (90, 60, 40), -1)
    return _finished(rotated(image, rng.uniform(-most, most)), rng)


def rotated(image: npt.NDArray[np.float32], angle: float) -> npt.NDArray[np.float32]:
    turn = cv2.getRotationMatrix2D((47.5, 47.5), angle, 1)
    return np.asarray(cv2.warpAffine(image, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), np.float32)


def upright_arm(rng: np.random.Generator) -> Image:
    return arm(rng, 3)


def upright_tee(rng: np.random.Generator) -> Image:
    return tee(rng, 3)


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(np.clip(image, 0, 255), (0, 0), 1.5))


def stack(images: list[Image]) -> npt.NDArray[np.uint8]:
    return np.stack([np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1) for image in images])


def some(seed: int, *parts: tuple[Draw, int]) -> npt.NDArray[np.uint8]:
    """Images of several kinds, one kind after the other: uint8 [N, 3, 96, 96]."""
    rng = np.random.default_rng(seed)
    return stack([draw(rng) for draw, number in parts for _ in range(number)])


def written(folder: Path, images: npt.NDArray[np.uint8]) -> list[Path]:
    """Writes images as PNG files with names in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[::-1].transpose(1, 2, 0))
    return paths

"""A procedurally drawn data set for demonstrations: brushed steel flanges, good and defective."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.special import expit

from automl_ad.errors import InputError

_Plane = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

# Lengths are fractions of the image side, measured from the centre of the part.
_OUTER, _STEP, _BORE = 0.40, 0.25, 0.12
_HOLE_CIRCLE, _HOLE, _HOLES = 0.325, 0.036, 6
_SUPERSAMPLING = 2  # supersampling factor, for antialiasing
_TILT = np.deg2rad(4)
_SUFFIX = 3


@dataclass(frozen=True)
class _Pose:
    """Position and illumination of one part; angles in radians, lengths in supersampled pixels."""

    side: int
    centre: tuple[float, float]
    angle: float
    gain: float
    light: float

    @classmethod
    def draw(cls, side: int, rng: np.random.Generator) -> _Pose:
        """A random pose close to that of a fixture."""
        column, row = (side * _near(0.5, 0.007, rng) for _ in range(2))
        return cls(side, (column, row), _near(0, _TILT / 2, rng), _near(1, 0.025, rng), _near(0.9, 0.08, rng))

    def place(self, radius: float, angle: float) -> tuple[float, float]:
        """Image coordinates (x, y) of a point in the part's polar coordinates (radius as a fraction of the side)."""
        turned = angle + self.angle
        return (
            self.centre[0] + radius * self.side * float(np.cos(turned)),
            self.centre[1] + radius * self.side * float(np.sin(turned)),
        )

    def polar(self) -> tuple[_Plane, _Plane]:
        """Radius (fraction of the side) and angle of every pixel, in the part's own coordinates."""
        y, x = np.mgrid[: self.side, : self.side].astype(np.float32)
        across, down = x - self.centre[0], y - self.centre[1]
        return np.hypot(across, down) / self.side, np.arctan2(down, across) - np.float32(self.angle)


def _near(middle: float, spread: float, rng: np.random.Generator) -> float:
    """A normal variate, clipped at two standard deviations."""
    return middle + spread * float(np.clip(rng.normal(), -2, 2))


_Defect = Callable[[_Plane, _Pose, float, np.random.Generator], tuple[_Plane, _Mask]]


def draw_demo_set(
    output: Path, seed: int = 0, train: int = 40, good: int = 12, defective: int = 16, side: int = 256
) -> Path:
    """Draws a data set in MVTec layout: ``train/good``, ``test/good``, ``test/<defect>`` and ``ground_truth/<defect>``.

    The part is a turned flange with six bolt holes and brushed grain, with small shifts and rotations, varying
    light and sensor noise. Defects (scratch, stain, chipped edge, missing hole) range from faint to obvious. The same
    arguments give the same pixels.

    Args:
        output: Folder to create; it appears only when complete.
        seed: Random seed.
        train: Number of good training images.
        good: Number of good test images.
        defective: Number of defective test images, shared among the kinds of defect.
        side: Height and width in pixels.

    Returns:
        ``output``.

    Raises:
        InputError: ``output`` exists and is not an empty folder, or cannot be written.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"{output} exists already: choose another folder or empty this one.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".drawing-", dir=output.parent))
    except OSError as fault:
        raise InputError(f"{output} cannot be created ({fault.strerror}): choose another folder.") from fault
    try:
        _draw_good(draft / "train" / "good", train, side, np.random.default_rng([seed, 0]))
        _draw_good(draft / "test" / "good", good, side, np.random.default_rng([seed, 1]))
        _draw_defective(draft, defective, side, np.random.default_rng([seed, 2]))
        draft.chmod(0o755)
        if output.exists():
            output.rmdir()
        draft.replace(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output


def _draw_good(folder: Path, count: int, side: int, rng: np.random.Generator) -> None:
    for number in range(count):
        pose = _Pose.draw(side * _SUPERSAMPLING, rng)
        _save(_photograph(_part(pose, rng), pose, rng), folder / _name(number))


def _draw_defective(root: Path, count: int, side: int, rng: np.random.Generator) -> None:
    kinds = sorted(_DEFECTS)
    for number in range(count):
        kind, turn = kinds[number % len(kinds)], number // len(kinds)
        turns = max(-(-count // len(kinds)) - 1, 1)
        pose = _Pose.draw(side * _SUPERSAMPLING, rng)
        spoilt, mask = _DEFECTS[kind](_part(pose, rng), pose, min(turn / turns, 1), rng)
        _save(_photograph(spoilt, pose, rng), root / "test" / kind / _name(turn))
        marked = np.where(mask, 255, 0).astype(np.uint8)
        small = cv2.resize(marked, (side, side), interpolation=cv2.INTER_AREA)
        _save(np.where(small >= 128, 255, 0).astype(np.uint8), root / "ground_truth" / kind / _name(turn, "_mask"))


def _part(pose: _Pose, rng: np.random.Generator) -> _Plane:
    """A good part before light and camera: grey [side, side], 0 to 1."""
    radius, angle = pose.polar()
    metal = _steel(radius, angle, pose, rng)
    canvas = np.where(_inside(radius, _OUTER), metal, _conveyor(pose, rng))
    for hole in range(_HOLES):
        canvas = _drill(canvas, pose, *pose.place(_HOLE_CIRCLE, hole * 2 * np.pi / _HOLES), _HOLE)
    return _drill(canvas, pose, *pose.centre, _BORE)


def _steel(radius: _Plane, angle: _Plane, pose: _Pose, rng: np.random.Generator) -> _Plane:
    """Turned steel: rings of grain, the bow-tie reflection of a turned face, a raised hub and bevelled edges."""
    grooves = rng.normal(0, 1, 2048).astype(np.float32)
    fine, coarse = grooves, cv2.GaussianBlur(grooves[None], (0, 0), 6)[0] * 4
    ring = (radius * 4000).astype(int) % 2048
    streaks = cv2.GaussianBlur(rng.normal(0, 1, radius.shape).astype(np.float32), (0, 0), 1.5)
    reflection = np.cos(2 * (angle + np.float32(pose.angle - pose.light))) ** 2
    steel = 0.50 + 0.17 * reflection + 0.010 * fine[ring] + 0.016 * coarse[ring] + 0.020 * streaks
    steel = steel + 0.06 * _inside(radius, _STEP)
    for edge, height in ((_OUTER, 0.22), (_STEP, 0.16), (_BORE, 0.20)):
        bevel = np.exp(-(((radius - edge + 0.006) / 0.004) ** 2))
        steel = steel + height * bevel * (0.45 + 0.55 * np.cos(angle + np.float32(pose.angle - pose.light + np.pi / 3)))
    return np.asarray(steel, np.float32)


def _conveyor(pose: _Pose, rng: np.random.Generator) -> _Plane:
    """Dark rubber with a faint weave, and the soft shadow of the part on it."""
    y, x = np.mgrid[: pose.side, : pose.side].astype(np.float32) * np.float32(2 * np.pi * 40 / pose.side)
    grain = cv2.GaussianBlur(rng.normal(0, 1, x.shape).astype(np.float32), (0, 0), 2)
    shift = 0.015 * pose.side
    away = np.hypot(
        *(p - c - shift for p, c in zip(np.mgrid[: pose.side, : pose.side], pose.centre[::-1], strict=True))
    )
    shadow = 0.6 * np.exp(-((np.maximum(away / pose.side - _OUTER, 0) / 0.02) ** 2))
    return np.asarray((0.13 + 0.012 * np.sin(x + y) * np.sin(x - y) + 0.02 * grain) * (1 - shadow), np.float32)


def _drill(canvas: _Plane, pose: _Pose, x: float, y: float, radius: float) -> _Plane:
    """A countersunk through hole: a bright rim on the side that faces the light, dark inside."""
    rows, columns = np.mgrid[: pose.side, : pose.side].astype(np.float32)
    away = np.hypot(columns - x, rows - y) / np.float32(pose.side)
    facing = np.cos(np.arctan2(rows - y, columns - x) - pose.light)
    rim = np.exp(-(((away - radius - 0.004) / 0.004) ** 2))
    inside = 0.05 + 0.06 * np.clip(away / radius, 0, 1) ** 6 * (1 - facing) / 2
    return np.asarray(np.where(away < radius, inside, canvas + 0.14 * rim * facing), np.float32)


def _inside(radius: _Plane, limit: float) -> _Mask:
    return np.asarray(radius < limit, np.bool_)


def _photograph(canvas: _Plane, pose: _Pose, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Light that falls off across the scene, exposure, a slightly warm tint and sensor noise: uint8 [H, W, 3]."""
    side = pose.side // _SUPERSAMPLING
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    falloff = 1 - 0.16 * (x * np.cos(pose.light) + y * np.sin(pose.light)) - 0.18 * (x**2 + y**2)
    tint = np.array([1.0, 0.985, 0.955], np.float32)
    scene = (small * falloff * np.float32(pose.gain))[:, :, None] * tint
    noise = rng.normal(0, 1, scene.shape).astype(np.float32) * (0.006 + 0.008 * np.sqrt(np.clip(scene, 0, 1)))
    return np.asarray(np.clip((scene + noise) * 255, 0, 255).round(), np.uint8)


def _scratch(canvas: _Plane, pose: _Pose, visibility: float, rng: np.random.Generator) -> tuple[_Plane, _Mask]:
    """A bright line with a dark flank, slightly bent, on the face between hub and rim."""
    start = rng.uniform(0, 2 * np.pi)
    ends = [pose.place(0.20, start), pose.place(0.29, start + rng.uniform(0.2, 0.4)), pose.place(0.37, start + 0.7)]
    path = _curve(np.array(ends, np.float32))
    width = max(round(pose.side * (0.004 + 0.004 * visibility)), 2)
    line, flank = (_stroke(path + shift, pose.side, width) * _metal(canvas) for shift in (0, width * 0.7))
    strength = 0.14 + 0.26 * visibility
    spoilt = canvas + strength * line - 0.6 * strength * flank
    return np.asarray(spoilt, np.float32), np.asarray((line > 0.25) | (flank > 0.25), np.bool_)


def _stain(canvas: _Plane, pose: _Pose, visibility: float, rng: np.random.Generator) -> tuple[_Plane, _Mask]:
    """A patch of oil or rust: darker, ragged at the edge, mottled inside."""
    x, y = pose.place(rng.uniform(0.18, 0.28), rng.uniform(0, 2 * np.pi))
    rows, columns = np.mgrid[: pose.side, : pose.side].astype(np.float32)
    ragged = cv2.GaussianBlur(rng.normal(0, 1, canvas.shape).astype(np.float32), (0, 0), pose.side * 0.012)
    ragged = ragged / ragged.std()
    away = np.hypot((columns - x) * rng.uniform(0.8, 1.3), rows - y) / pose.side + 0.008 * ragged
    cover = expit((rng.uniform(0.035, 0.055) - away) / 0.004) * _metal(canvas)
    dark = (0.16 + 0.30 * visibility) * (1 + 0.15 * ragged)
    return np.asarray(canvas * (1 - cover * dark), np.float32), np.asarray(cover > 0.3, np.bool_)


def _chip(canvas: _Plane, pose: _Pose, visibility: float, rng: np.random.Generator) -> tuple[_Plane, _Mask]:
    """A piece broken out of the rim: conveyor where metal should be, with a rough bright edge."""
    x, y = pose.place(_OUTER + 0.004, rng.uniform(0, 2 * np.pi))
    size = 0.018 + 0.030 * visibility
    around = (np.arange(11) + rng.uniform(-0.4, 0.4, 11)) * 2 * np.pi / 11
    reach = size * pose.side * rng.uniform(0.65, 1.2, 11)
    corners = np.stack([x + reach * np.cos(around), y + reach * np.sin(around)], axis=1)
    gone = np.zeros(canvas.shape, np.uint8)
    cv2.fillPoly(gone, [corners.round().astype(np.int32)], 255)
    radius, _ = pose.polar()
    missing = (gone > 0) & _inside(radius, _OUTER)
    edge = (cv2.dilate(missing.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~missing & _inside(radius, _OUTER)
    spoilt = np.where(missing, 0.09 + 0.01 * rng.normal(0, 1, canvas.shape), canvas + 0.18 * edge)
    return np.asarray(spoilt, np.float32), np.asarray(missing | edge, np.bool_)


def _missing_hole(canvas: _Plane, pose: _Pose, visibility: float, rng: np.random.Generator) -> tuple[_Plane, _Mask]:
    """A bolt hole that was drilled too small, down to not at all."""
    x, y = pose.place(_HOLE_CIRCLE, rng.integers(_HOLES) * 2 * np.pi / _HOLES)
    rows, columns = np.mgrid[: pose.side, : pose.side].astype(np.float32)
    away = np.hypot(columns - x, rows - y) / pose.side
    radius, angle = pose.polar()
    mask = np.asarray(away < _HOLE + 0.012, np.bool_)
    spoilt = np.where(mask, _steel(radius, angle, pose, rng), canvas)
    left = _HOLE * (0.72 - 0.9 * visibility)
    spoilt = np.asarray(spoilt, np.float32)
    return (_drill(spoilt, pose, x, y, left) if left > 0.25 * _HOLE else spoilt), mask


_DEFECTS: dict[str, _Defect] = {
    "chipped_edge": _chip,
    "missing_hole": _missing_hole,
    "scratch": _scratch,
    "stain": _stain,
}


def _metal(canvas: _Plane) -> _Mask:
    """The face of the part, which is far brighter than holes, shadow and conveyor."""
    return np.asarray(canvas > 0.25, np.bool_)


def _curve(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A quadratic Bezier curve of 64 points through the first and last of three points."""
    t = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    return np.asarray((1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2], np.float32)


def _stroke(path: npt.NDArray[np.float32], side: int, width: int) -> _Plane:
    ink = np.zeros((side, side), np.uint8)
    cv2.polylines(ink, [path.round().astype(np.int32)], False, 255, width, cv2.LINE_AA)
    return np.asarray(ink / 255, np.float32)


def _name(number: int, ending: str = "") -> str:
    return f"{number:0{_SUFFIX}d}{ending}.png"


def _save(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)

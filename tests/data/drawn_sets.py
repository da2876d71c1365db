"""Draws small data sets in the layouts that people have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def picture(number: int, defective: bool = False) -> npt.NDArray[np.uint8]:
    """A noisy part, uint8 [48, 64, 3], with a dark square where it is defective."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(100, 160, (48, 64, 3))
    if defective:
        pixels[marked(number)] = 5
    return pixels.astype(np.uint8)


def marked(number: int) -> npt.NDArray[np.bool_]:
    """Where the picture of that number is defective, bool [48, 64]."""
    mask = np.zeros((48, 64), bool)
    top, left = 8 + number % 8, 8 + number % 24
    mask[top : top + 10, left : left + 10] = True
    return mask


@dataclass
class Drawn:
    """A data set on disk and the truth about it."""

    root: Path
    good: set[Path] = field(default_factory=set)
    test_good: set[Path] = field(default_factory=set)
    defective: dict[Path, str] = field(default_factory=dict)
    masks: dict[Path, npt.NDArray[np.bool_]] = field(default_factory=dict)
    number: int = 0

    def add_good(self, name: str, count: int, *, tested: bool = False, learned: bool = True) -> None:
        for _ in range(count):
            path = self._save(name, picture(self.number))
            self.good |= {path} if learned else set()
            self.test_good |= {path} if tested else set()
            self.number += 1

    def add_defective(self, name: str, count: int, kind: str, mask: str | None = None, value: int = 255) -> None:
        for _ in range(count):
            path = self._save(name, picture(self.number, defective=True))
            self.defective[path] = kind
            if mask is not None:
                self._save(mask, marked(self.number).astype(np.uint8) * np.uint8(value))
                self.masks[path] = marked(self.number)
            self.number += 1

    def add_empty_masks(self, name: str, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._save(name, np.zeros((48, 64), np.uint8), number)

    def _save(self, name: str, pixels: npt.NDArray[np.uint8], number: int | None = None) -> Path:
        path = self.root / name.format(self.number if number is None else number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path


def mvtec_ad(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/good/{:03d}.png", 4)
    drawn.add_good("test/good/{:03d}.png", 3, tested=True, learned=False)
    drawn.add_defective("test/broken_large/{:03d}.png", 2, "broken_large", "ground_truth/broken_large/{:03d}_mask.png")
    drawn.add_defective(
        "test/contamination/{:03d}.png", 2, "contamination", "ground_truth/contamination/{:03d}_mask.png"
    )
    return drawn


def mvtec_ad_2(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/good/{:03d}_regular.png", 4)
    drawn.add_good("validation/good/{:03d}_regular.png", 2, learned=False)
    drawn.add_good("test_public/good/{:03d}_regular.png", 3, tested=True, learned=False)
    drawn.add_defective(
        "test_public/bad/{:03d}_overexposed.png", 3, "bad", "test_public/ground_truth/bad/{:03d}_overexposed_mask.png"
    )
    drawn.add_good("test_private/{:03d}_regular.png", 2, learned=False)
    return drawn


def mvtec_loco(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/good/{:03d}.png", 4)
    drawn.add_good("validation/good/{:03d}.png", 2, learned=False)
    drawn.add_good("test/good/{:03d}.png", 3, tested=True, learned=False)
    for kind in ("logical_anomalies", "structural_anomalies"):
        drawn.add_defective(f"test/{kind}/{{:03d}}.png", 2, kind, f"ground_truth/{kind}/{{:03d}}/000.png")
    return drawn


def btad(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/ok/{:04d}.bmp", 4)
    drawn.add_good("test/ok/{:04d}.bmp", 3, tested=True, learned=False)
    drawn.add_defective("test/ko/{:04d}.bmp", 3, "ko", "ground_truth/ko/{:04d}.png")
    return drawn


def visa(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("Data/Images/Normal/{:04d}.JPG", 5, tested=True)
    drawn.add_defective("Data/Images/Anomaly/{:04d}.JPG", 3, "Anomaly", "Data/Masks/Anomaly/{:04d}.png", value=3)
    return drawn


def visa_with_table(root: Path) -> Drawn:
    product = root / "candle"
    drawn = visa(product)
    kinds = dict(zip(sorted(drawn.defective), ("chip", "burnt", "chip"), strict=True))
    drawn.defective.update(kinds)
    rows = [[path.relative_to(root).as_posix(), "normal", ""] for path in sorted(drawn.good)]
    for path, kind in kinds.items():
        mask = path.relative_to(root).as_posix().replace("Images", "Masks").replace(".JPG", ".png")
        rows.append([path.relative_to(root).as_posix(), kind, mask])
    with (product / "image_anno.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label", "mask"], *rows])
    drawn.root = product
    return drawn


def visa_with_split(root: Path) -> Drawn:
    product = root / "candle"
    drawn = visa(product)
    tested = set(sorted(drawn.good)[:2])
    drawn.test_good, drawn.good = tested, drawn.good - tested
    drawn.defective = dict.fromkeys(drawn.defective, "anomaly")
    rows = []
    for path in sorted(drawn.good | tested):
        part = "test" if path in tested else "train"
        rows.append(["candle", part, "normal", path.relative_to(root).as_posix(), ""])
    for path in drawn.defective:
        mask = path.relative_to(root).as_posix().replace("Images", "Masks").replace(".JPG", ".png")
        rows.append(["candle", "test", "anomaly", path.relative_to(root).as_posix(), mask])
    (root / "split_csv").mkdir()
    with (root / "split_csv/1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])
    drawn.root = product
    return drawn


def kolektor_1(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("kos{0:02d}/Part0.jpg", 5, tested=True)
    drawn.add_empty_masks("kos{0:02d}/Part0_label.bmp", range(5))
    drawn.add_defective("kos{0:02d}/Part1.jpg", 3, "defect", "kos{0:02d}/Part1_label.bmp")
    return drawn


def kolektor_2(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/{0}.png", 4)
    drawn.add_empty_masks("train/{0}_GT.png", range(4))
    drawn.add_defective("train/{0}.png", 1, "defect", "train/{0}_GT.png")
    learned = set(drawn.defective)
    drawn.add_good("test/{0}.png", 3, tested=True, learned=False)
    drawn.add_empty_masks("test/{0}_GT.png", range(5, 8))
    drawn.add_defective("test/{0}.png", 2, "defect", "test/{0}_GT.png")
    for path in learned:
        del drawn.defective[path], drawn.masks[path]
    return drawn


def mpdd(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("train/good/{:03d}.png", 4)
    drawn.add_good("test/good/{:03d}.png", 2, tested=True, learned=False)
    for kind in ("parts_mismatch", "defective_painting", "missing_label"):
        drawn.add_defective(f"test/{kind}/{{:03d}}.png", 2, kind, f"ground_truth/{kind}/{{:03d}}_mask.png")
    return drawn


def real_iad(root: Path) -> Drawn:
    product = root / "audiojack"
    drawn = Drawn(product)
    drawn.add_good("OK/S{0:04d}/audiojack_C1_{0}.jpg", 5)
    tested = set(sorted(drawn.good)[:2])
    drawn.good, drawn.test_good = drawn.good - tested, tested
    name = "NG/BX/S{0:04d}/audiojack_NG_C1_{0}"
    drawn.add_defective(f"{name}.jpg", 3, "BX", f"{name}.png")

    def row(path: Path, kind: str) -> dict[str, str | None]:
        mask = path.with_suffix(".png").relative_to(product).as_posix() if kind != "OK" else None
        return {
            **{"category": "audiojack", "anomaly_class": kind},
            **{"image_path": path.relative_to(product).as_posix(), "mask_path": mask},
        }

    content = {
        "meta": {"normal_class": "OK", "prefix": "audiojack/"},
        "train": [row(path, "OK") for path in sorted(drawn.good)],
        "test": [row(path, "OK") for path in sorted(tested)] + [row(path, "BX") for path in sorted(drawn.defective)],
    }
    (root / "realiad_jsons").mkdir()
    (root / "realiad_jsons/audiojack.json").write_text(json.dumps(content))
    return drawn


def real_iad_without_json(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("OK/S{0:04d}/audiojack_C1_{0}.jpg", 4, tested=True)
    name = "NG/BX/S{0:04d}/audiojack_NG_C1_{0}"
    drawn.add_defective(f"{name}.jpg", 3, "BX", f"{name}.png")
    return drawn


def casting(root: Path) -> Drawn:
    """Two classes as Keras reads them."""
    drawn = Drawn(root)
    drawn.add_good("train/ok_front/cast_ok_0_{0}.jpeg", 4)
    drawn.add_defective("train/def_front/cast_def_0_{0}.jpeg", 2, "")
    drawn.defective.clear()
    drawn.add_good("test/ok_front/cast_ok_0_{0}.jpeg", 3, tested=True, learned=False)
    drawn.add_defective("test/def_front/cast_def_0_{0}.jpeg", 2, "def_front")
    return drawn


def ok_ng(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("OK/{0}.png", 4, tested=True)
    drawn.add_defective("NG/{0}.png", 2, "NG")
    return drawn


def normal_abnormal(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("normal/{0}.png", 4, tested=True)
    drawn.add_defective("abnormal/bent/{0}.png", 2, "bent", "masks/abnormal/bent/{0}.png")
    return drawn


def magnetic_tile(root: Path) -> Drawn:
    """Masks that have the names of their pictures, with another ending."""
    drawn = Drawn(root)
    drawn.add_good("MT_Free/Imgs/exp1_num_{0}.jpg", 3, tested=True)
    drawn.add_empty_masks("MT_Free/Imgs/exp1_num_{0}.png", range(3))
    drawn.add_defective("MT_Blowhole/Imgs/exp1_num_{0}.jpg", 3, "MT_Blowhole", "MT_Blowhole/Imgs/exp1_num_{0}.png")
    drawn.add_defective("MT_Uneven/Imgs/exp1_num_{0}.jpg", 2, "MT_Uneven", "MT_Uneven/Imgs/exp1_num_{0}.png")
    return drawn


def dagm(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("Train/{0:04d}.PNG", 4)
    drawn.add_good("Test/{0:04d}.PNG", 3, tested=True, learned=False)
    drawn.add_defective("Test/{0:04d}.PNG", 2, "defect", "Test/Label/{0:04d}_label.PNG")
    return drawn


def loose_train_part(root: Path) -> Drawn:
    """Good images lie in the train part without a folder of their own."""
    drawn = Drawn(root)
    drawn.add_good("train/{0}.png", 4)
    drawn.add_good("test/not_defective/{0}.png", 2, tested=True, learned=False)
    drawn.add_defective("test/defective/{0}.png", 2, "defective", "test/masks/defective/{0}.png")
    return drawn


def images_and_masks(root: Path) -> Drawn:
    drawn = Drawn(root)
    drawn.add_good("images/{0}.png", 4, tested=True)
    drawn.add_empty_masks("masks/{0}.png", range(4))
    drawn.add_defective("images/{0}.png", 2, "defect", "masks/{0}.png", value=1)
    return drawn


LAYOUTS: dict[str, Callable[[Path], Drawn]] = {
    layout.__name__: layout
    for layout in (
        *(mvtec_ad, mvtec_ad_2, mvtec_loco, btad, visa, visa_with_table, visa_with_split, kolektor_1, kolektor_2, mpdd),
        *(real_iad, real_iad_without_json, casting, ok_ng, normal_abnormal, magnetic_tile, dagm, loose_train_part),
        images_and_masks,
    )
}

"""What image files say of the camera and the time that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image

from automl_ad.data.reading import FORMATS

_MAKE, _MODEL, _TIME, _EXIF, _ORIGINAL_TIME = 0x010F, 0x0110, 0x0132, 0x8769, 0x9003


@dataclass(frozen=True)
class FileFacts:
    """Facts from the header of a file.

    Attributes:
        size: Width and height in pixels, the larger first; None where the header cannot be read.
        mode: Pillow's name of the pixel format.
        camera: Make and model from the EXIF data; empty if unknown.
        taken: When the picture was taken, from the EXIF data, seconds since 1970; None if unknown.
        modified: When the file was modified, in the same unit; None if unknown.
    """

    size: tuple[int, int] | None = None
    mode: str = ""
    camera: str = ""
    taken: float | None = None
    modified: float | None = None


def file_facts(path: Path) -> FileFacts:
    """Reads the header of a file, never its pixels; what cannot be read is left unknown."""
    try:
        modified = path.stat().st_mtime
    except OSError:
        return FileFacts()
    try:
        with Image.open(path, formats=FORMATS) as image:
            size = (max(image.size), min(image.size))
            # For a PNG without EXIF data in its header, Pillow's getexif decodes all pixels to search behind them.
            known = image.format != "PNG" or "exif" in image.info
            exif = image.getexif() if known else Image.Exif()
            camera = " ".join(str(exif[tag]).strip("\0 ") for tag in (_MAKE, _MODEL) if exif.get(tag))
            taken = exif.get_ifd(_EXIF).get(_ORIGINAL_TIME) or exif.get(_TIME)
            return FileFacts(size, image.mode, camera, _seconds(taken), modified)
    except Exception:  # decoders raise arbitrary exceptions on damaged files
        return FileFacts(modified=modified)


def _seconds(text: object) -> float | None:
    try:
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None

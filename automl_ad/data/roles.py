"""What the names of folders and files say: good, defective, mask, and which part of a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Part = Literal["train", "validation", "test"]

_PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}


def _vocabulary(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = _vocabulary(
    "good ok okay normal normals pass passed healthy accepted conforming conform flawless faultless intact undamaged "
    "nondefective undefective free clean gut io"
)
_DEFECTIVE = _vocabulary(
    "bad ng nok ko nio defect defects defective defected def anomaly anomalies anomalous anomalie abnormal abnormals "
    "abnormality abnormalities broken damaged damage damages fault faults faulty fail failed failure failures reject "
    "rejects rejected scrap flaw flaws flawed outlier outliers unhealthy nonconforming fehler fehlerhaft schlecht "
    "notok notgood nogood unnormal"
)
_KINDS_OF_DEFECT = _vocabulary(
    "scratch scratches scratched crack cracks cracked dent dents dented contamination contaminated stain stains "
    "stained burr burrs rust rusty corrosion bubble bubbles blowhole blowholes pitting inclusion inclusions torn tear "
    "misplaced deformed deformation"
)
_MASKS = _vocabulary("mask masks gt groundtruth label labels annotation annotations seg segmentation segmentations")
_BESIDE_MASKS = _MASKS | _vocabulary(
    "ground truth image images img imgs defect defects anomaly anomalies bad ng ko pixel pixels binary test train "
    "class object png files data"
)
_CONTAINERS = _vocabulary(
    "images image imgs img data dataset rgb color colour pictures pics photos photo jpegimages jpg png"
)
_NEGATED = re.compile(
    r"\b(no|non|not|un|without|zero|free of) ?(an? |any )?(defects?|defective|anomal(y|ies|ous)|faults?|faulty|"
    r"damages?|damaged|cracks?|cracked|flaws?|errors?|abnormal)\b"
    r"|\b(defects?|faults?|damage|crack|anomaly|flaw|error) free\b"
)
_SUBJECT = re.compile(
    r"\b(anomaly|anomalies|defects?|faults?|outliers?) (detect\w*|inspect\w*|data\w*|set|project|search|ad)\b"
)
_REFUSED = re.compile(r"\b(not|no|non|un|n) ?(ok|okay|good|normal|pass(ed)?|accepted|conforming|io|i o)\b")
_MASK_NAME = re.compile(
    r"(?P<base>.+?)[ _.-]+(masks?|gt|labels?|seg|segmentation|annotation|anno|ground[_ ]?truth)([ _.-]*\d+)?",
    re.IGNORECASE,
)
_MASK_FIRST = re.compile(r"(mask|gt|label|seg|ground[_ ]?truth)[ _.-]+(?P<base>.+)", re.IGNORECASE)


@dataclass(frozen=True)
class Role:
    """What a name says.

    Attributes:
        part: Part of a data set, if the name speaks of one.
        defective: False for good, True for defective, None if it speaks of neither.
        mask: Whether it speaks of masks.
        container: Whether it is a mere container such as ``images``.
        kind: Whether it names a kind of defect, such as ``scratch``.
        mixed: Whether it speaks of good and of defective.
    """

    part: Part | None = None
    defective: bool | None = None
    mask: bool = False
    container: bool = False
    kind: bool = False
    mixed: bool = False

    @property
    def says_something(self) -> bool:
        """Whether the name has any role in a data set."""
        return self.part is not None or self.defective is not None or self.mask or self.container or self.mixed


@lru_cache(maxsize=65536)
def role_of(name: str) -> Role:
    """The role of a folder by its name.

    Example:
        >>> role_of("not_ok").defective, role_of("defect-free").defective, role_of("Anomaly").defective
        (True, False, True)
        >>> role_of("test_public").part, role_of("ground_truth").mask, role_of("cam 1").says_something
        ('test', True, False)
    """
    words = _SUBJECT.sub(" ", " ".join(_words(name)))  # a folder named anomaly_detection says nothing of its images
    good = bool(_NEGATED.search(words))
    rest = _NEGATED.sub(" ", words)
    bad = bool(_REFUSED.search(rest))
    tokens = _REFUSED.sub(" ", rest).split()
    parts = [_PARTS[token] for token in tokens if token in _PARTS]
    good = good or any(token in _GOOD for token in tokens)
    bad = bad or any(token in _DEFECTIVE for token in tokens)
    return Role(
        part=parts[0] if parts else None,
        defective=None if good == bad else bad,
        # "missing label" is a defect of a product that has labels.
        mask=_BESIDE_MASKS.issuperset(tokens) and (not _MASKS.isdisjoint(tokens) or "ground truth" in words),
        container=bool(tokens) and all(token in _CONTAINERS for token in tokens),
        kind=any(token in _KINDS_OF_DEFECT for token in tokens),
        mixed=good and bad,
    )


def only_part(name: str) -> Part | None:
    """The part of a data set, if the name says nothing else."""
    words = _words(name)
    return _PARTS[words[0]] if len(words) == 1 and words[0] in _PARTS else None


def only_defective(name: str) -> bool:
    """Whether a name says that images are defective, and nothing else.

    Example:
        >>> only_defective("NG images"), only_defective("anomaly study of line 3")
        (True, False)
    """
    words = _words(name)
    rest = [word for word in words if word not in _CONTAINERS and word not in _PARTS]
    return bool(rest) and all(word in _DEFECTIVE or word in _KINDS_OF_DEFECT for word in rest)


def mask_bases(stem: str) -> list[str]:
    """The names of the picture that a mask of this name may belong to; empty if the name is no mask's.

    Example:
        >>> mask_bases("000_mask"), mask_bases("Part0_label"), mask_bases("7-mask-2"), mask_bases("part")
        (['000'], ['Part0'], ['7'], [])
    """
    found = [match["base"] for pattern in (_MASK_NAME, _MASK_FIRST) if (match := pattern.fullmatch(stem))]
    return list(dict.fromkeys(found))


def is_named_as_mask(stem: str) -> bool:
    """Whether the name of a file speaks of a mask, in whatever place."""
    return bool(mask_bases(stem)) or any(word in _MASKS for word in _words(stem))


def is_label_word(name: str) -> bool:
    """Whether a name speaks of masks with a word that products can have too, as printed labels do."""
    return (
        not any(word in {"mask", "masks", "gt", "groundtruth"} for word in _words(name))
        and "ground" not in name.lower()
    )


def _words(name: str) -> list[str]:
    """The words of a name in lower case, split at signs, at digits and between lower and upper case."""
    if name.lower() in _GOOD | _DEFECTIVE:
        return [name.lower()]  # niO is one word
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) if not name.isupper() else name
    return re.findall(r"[a-zäöüß]+", re.sub(r"\bi\.?[oO]\.?(?![a-z])", "io", split).lower())

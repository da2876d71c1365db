"""The search space that a study gives to its methods: available backbones, their levels, and the effort preset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

FEW_CHANNELS = 16
"""No network has a level, or a stem, with fewer channels; only the fixed filters have."""

Effort = Literal["quick", "balanced", "thorough", "faithful"]


@dataclass(frozen=True)
class BackboneSpace:
    """One backbone of a study.

    Attributes:
        name: Backbone name.
        levels: Levels that its weights provide, finest first, as negative indices.
        strides: Stride of each level in image pixels.
        channels: Channels of each level; may be empty if not needed.
    """

    name: str
    levels: tuple[int, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...] = ()

    @property
    def usable(self) -> tuple[int, ...]:
        """Levels worth combining.

        Levels of strides below 4 hold little more than grey values and need most of the memory. A transformer has one
        level for each block, all of the same stride: four, evenly spaced over its depth, are kept. In other networks
        the last level of each stride is kept, since a VGG network has one level for each layer. Weights that end
        before stride 4 provide only their last level.
        """
        levels = self.within(4, 32)
        if len(set(self.strides)) > 1:
            levels = tuple({self.stride(level): level for level in levels}.values())
        elif len(levels) > 5:
            levels = tuple(levels[(len(levels) * part) // 4 - 1] for part in (1, 2, 3, 4))
        return levels or self.levels[-1:]

    def within(self, finest: int, coarsest: int) -> tuple[int, ...]:
        """All levels from stride ``finest`` to ``coarsest``, both included."""
        pairs = zip(self.levels, self.strides, strict=True)
        return tuple(level for level, stride in pairs if finest <= stride <= coarsest)

    def stride(self, level: int) -> int:
        """Stride of ``level`` in image pixels."""
        return self.strides[self.levels.index(level)]

    @property
    def middle(self) -> tuple[int, ...]:
        """The two levels after the finest usable one: the ones most published methods use."""
        return self.usable[1:3] or self.usable

    @property
    def fixed(self) -> bool:
        """Whether this is the fixed filter bank alone, whose levels have few channels and are only useful together."""
        return bool(self.channels) and max(self.channels) < FEW_CHANNELS

    def runs(self, longest: int = 3) -> list[tuple[int, ...]]:
        """Runs of adjacent usable levels, shortest first, for methods that combine levels."""
        usable = self.usable
        spans = combinations(range(len(usable) + 1), 2)
        return sorted((usable[a:b] for a, b in spans if b - a <= longest), key=lambda run: (len(run), run))


@dataclass(frozen=True)
class Space:
    """The search space shared by all methods of a study.

    Attributes:
        backbones: Available backbones, in the order asked for.
        side: Side of the square that has the area of the working size, in pixels.
        effort: Preset for the cost of a fit; lower presets shrink the methods so that a search fits the machine.
        sources: Families of anomalies available for training: ``texture`` always, ``sdas`` if its model is usable.
    """

    backbones: tuple[BackboneSpace, ...]
    effort: Effort
    side: int = 256
    sources: tuple[str, ...] = ("texture",)

    def backbone(self, name: str) -> BackboneSpace:
        """The backbone called ``name``."""
        return next(backbone for backbone in self.backbones if backbone.name == name)


def networks_first(backbones: Iterable[BackboneSpace]) -> tuple[BackboneSpace, ...]:
    """The fixed filters last: on every real set a network was the better default."""
    return tuple(sorted(backbones, key=lambda backbone: backbone.fixed))


def encode_levels(levels: tuple[int, ...]) -> str:
    """Levels as a categorical choice.

    >>> encode_levels((-3, -2))
    '-3,-2'
    """
    return ",".join(str(level) for level in levels)


def decode_levels(text: str) -> tuple[int, ...]:
    """The inverse of ``encode_levels``.

    >>> decode_levels("-3,-2")
    (-3, -2)
    """
    return tuple(int(part) for part in text.split(","))

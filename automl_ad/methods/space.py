"""What a study lets its methods search: the backbones at hand, their levels, and how far a preset goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

FEW_CHANNELS = 16
"""A level of fewer channels is no network's, not even of its stem."""

Effort = Literal["quick", "balanced", "thorough", "faithful"]


@dataclass(frozen=True)
class BackboneSpace:
    """One backbone of a study.

    Attributes:
        name: Backbone name.
        levels: Levels that its weights hold, finest first, as negative indices.
        strides: Image pixels a feature step of each.
        channels: Channels of each; empty where they do not matter.
    """

    name: str
    levels: tuple[int, ...]
    strides: tuple[int, ...]
    channels: tuple[int, ...] = ()

    @property
    def usable(self) -> tuple[int, ...]:
        """Levels worth combining.

        Strides below 4 see little more than grey values and cost most of the memory. A transformer has a level for
        every block, all of one stride: four spread over its depth stand for the rest. Elsewhere the last level of a
        stride stands for all of that stride, as a VGG network has one for every layer. Weights that end before
        stride 4 leave their last level.
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
        """Image pixels a feature step of ``level``."""
        return self.strides[self.levels.index(level)]

    @property
    def middle(self) -> tuple[int, ...]:
        """The two levels after the finest usable one: what most published methods read."""
        return self.usable[1:3] or self.usable

    @property
    def fixed(self) -> bool:
        """Whether these are the fixed filters alone: levels of a few channels, which only tell something together."""
        return bool(self.channels) and max(self.channels) < FEW_CHANNELS

    def runs(self, longest: int = 3) -> list[tuple[int, ...]]:
        """Runs of neighbouring usable levels, shortest first: what multi-level methods combine."""
        usable = self.usable
        spans = combinations(range(len(usable) + 1), 2)
        return sorted((usable[a:b] for a, b in spans if b - a <= longest), key=lambda run: (len(run), run))


@dataclass(frozen=True)
class Space:
    """The search space shared by all methods of a study.

    Attributes:
        backbones: Backbones at hand, the default first.
        side: Side of the square that has the area of the working size, in pixels.
        effort: How long a fit may be: presets shrink methods until a search fits the machine.
        sources: Anomalies that methods can learn from here: ``texture`` always, ``sdas`` where its model can be used.
    """

    backbones: tuple[BackboneSpace, ...]
    effort: Effort
    side: int = 256
    sources: tuple[str, ...] = ("texture",)

    def backbone(self, name: str) -> BackboneSpace:
        """The backbone called ``name``."""
        return next(backbone for backbone in self.backbones if backbone.name == name)


def encode_levels(levels: tuple[int, ...]) -> str:
    """Levels as a categorical choice, for example ``-3,-2``."""
    return ",".join(str(level) for level in levels)


def decode_levels(text: str) -> tuple[int, ...]:
    """The inverse of ``encode_levels``."""
    return tuple(int(part) for part in text.split(","))

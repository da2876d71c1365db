from __future__ import annotations

import pytest

from automl_ad.data.group_exclusion import named_members
from automl_ad.errors import OptionError
from automl_ad.results import ImageGroup


def group(name: str, *members: str) -> ImageGroup:
    words = {"sentence": "2 of 4 images", "remedy": "search each"}
    return ImageGroup(name=name, kind="product", images=len(members), share=0.5, examples=(), members=members, **words)


GROUPS = (group("product-1", "a", "b"), group("product-2", "c"), group("angle-1", "a"))


def test_members_come_once() -> None:
    assert named_members(GROUPS, ["product-1", "angle-1"]) == ("a", "b")


def test_an_unknown_group_is_refused_with_those_there_are() -> None:
    with pytest.raises(OptionError, match=r"blue is no group .* product-1 \(2 images\), product-2 \(1 images\)"):
        named_members(GROUPS, ["product-1", "blue"])


def test_without_groups_the_option_is_to_be_left_out() -> None:
    with pytest.raises(OptionError, match="one kind, so leave the option out"):
        named_members((), ["product-1"])

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.methods.space import BackboneSpace, Space, decode_levels, encode_levels

RESNET = BackboneSpace("resnet18", (-5, -4, -3, -2, -1), (2, 4, 8, 16, 32))
VIT = BackboneSpace("vit_small", tuple(range(-12, 0)), (16,) * 12)
VGG19 = BackboneSpace("vgg19", tuple(range(-16, 0)), (1, 1, 2, 2) + (4,) * 4 + (8,) * 4 + (16,) * 4)
EMBEDDED = BackboneSpace("embedded", (-4, -3, -2, -1), (4, 8, 16, 32), (14,) * 4)


@st.composite
def backbones(draw: st.DrawFn) -> BackboneSpace:
    strides = draw(st.lists(st.sampled_from([1, 2, 4, 8, 14, 16, 32, 64]), min_size=1, max_size=14).map(sorted))
    missing = draw(st.integers(0, 3))
    levels = tuple(range(-len(strides) - missing, -missing))
    return BackboneSpace("any", levels, tuple(strides))


def test_strides_below_four_are_left_out() -> None:
    assert RESNET.usable == (-4, -3, -2, -1)
    assert EMBEDDED.usable == (-4, -3, -2, -1)


def test_four_blocks_spread_over_its_depth_stand_for_a_transformer() -> None:
    assert VIT.usable == (-10, -7, -4, -1)
    assert BackboneSpace("deep", tuple(range(-24, 0)), (14,) * 24).usable == (-19, -13, -7, -1)
    assert BackboneSpace("shallow", (-4, -3, -2, -1), (16,) * 4).usable == (-4, -3, -2, -1)


def test_the_last_layer_of_a_stride_stands_for_a_stage_of_a_vgg() -> None:
    relu3_4, relu4_4, relu5_4 = -9, -5, -1
    assert VGG19.usable == (relu3_4, relu4_4, relu5_4)
    assert VGG19.middle == (relu4_4, relu5_4)
    pairs = [(relu3_4, relu4_4), (relu4_4, relu5_4)]
    assert VGG19.runs() == [(relu3_4,), (relu4_4,), (relu5_4,), *pairs, (relu3_4, relu4_4, relu5_4)]
    relu4_2 = -7
    assert BackboneSpace("partial", VGG19.levels[:10], VGG19.strides[:10]).usable == (relu3_4, relu4_2)
    assert BackboneSpace("stem", VGG19.levels[:3], VGG19.strides[:3]).usable == (-14,)


def test_levels_within_strides() -> None:
    assert VGG19.within(4, 8) == tuple(range(-12, -4))
    assert VGG19.within(1, 16) == VGG19.levels
    assert RESNET.within(5, 7) == ()


def test_weights_that_end_early_leave_the_levels_that_they_hold() -> None:
    assert BackboneSpace("partial", (-5, -4), (2, 4)).usable == (-4,)
    assert BackboneSpace("stem", (-5,), (2,)).usable == (-5,)


def test_middle_is_the_two_levels_after_the_finest() -> None:
    assert RESNET.middle == (-3, -2)
    assert VIT.middle == (-7, -4)
    assert BackboneSpace("two", (-5, -4, -3), (2, 4, 8)).middle == (-3,)
    assert BackboneSpace("one", (-5, -4), (2, 4)).middle == (-4,)


def test_runs_by_hand() -> None:
    pairs = [(-4, -3), (-3, -2), (-2, -1)]
    assert RESNET.runs(2) == [(-4,), (-3,), (-2,), (-1,), *pairs]
    assert RESNET.runs() == [(-4,), (-3,), (-2,), (-1,), *pairs, (-4, -3, -2), (-3, -2, -1)]
    assert BackboneSpace("one", (-5, -4), (2, 4)).runs() == [(-4,)]


def test_stride_of_a_level() -> None:
    assert [RESNET.stride(level) for level in (-5, -1, -3)] == [2, 32, 8]


@given(backbones(), st.integers(1, 4))
def test_runs_are_neighbours_among_the_usable_levels_each_once(backbone: BackboneSpace, longest: int) -> None:
    runs, usable = backbone.runs(longest), backbone.usable
    assert len(set(runs)) == len(runs) > 0
    assert set(usable) <= set(backbone.levels)
    for run in runs:
        start = usable.index(run[0])
        assert run == usable[start : start + len(run)]
        assert 1 <= len(run) <= longest
    n, most = len(usable), min(longest, len(usable))
    assert len(runs) == sum(n - length + 1 for length in range(1, most + 1))


def test_backbones_are_found_by_name() -> None:
    assert Space((RESNET, EMBEDDED), "quick").backbone("embedded") is EMBEDDED


@given(st.lists(st.integers(-40, -1), min_size=1, max_size=5).map(tuple))
def test_levels_survive_their_encoding(levels: tuple[int, ...]) -> None:
    assert decode_levels(encode_levels(levels)) == levels


def test_encoding_by_hand() -> None:
    assert encode_levels((-3, -2)) == "-3,-2"
    with pytest.raises(ValueError, match="invalid literal"):
        decode_levels("")


def test_only_levels_of_a_few_channels_are_fixed_filters() -> None:
    assert EMBEDDED.fixed
    assert not BackboneSpace("joined", (-2, -1), (8, 16), (142, 270)).fixed
    assert not RESNET.fixed

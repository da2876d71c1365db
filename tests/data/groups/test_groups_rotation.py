from __future__ import annotations

import numpy as np
import pytest
from drawn import Draw, arm, bars, grain, plate, ring, rotated, some, tee, upright_arm, upright_tee, weave

from automl_ad.data.groups.rotation import is_rotated, polar_maps, varied_angle


@pytest.mark.parametrize("draw", [arm, tee])
def test_turned_parts_vary(draw: Draw) -> None:
    arc = varied_angle(polar_maps(some(1, (draw, 30))))
    assert arc is not None
    assert arc > 180


@pytest.mark.parametrize("draw", [upright_arm, upright_tee, ring, bars, plate, grain, weave])
def test_upright_and_round_parts_and_textures_do_not(draw: Draw) -> None:
    assert varied_angle(polar_maps(some(2, (draw, 30)))) is None


def test_the_arc_is_that_of_the_angles() -> None:
    arc = varied_angle(polar_maps(some(3, (lambda rng: arm(rng, 45), 40))))
    assert arc is not None
    assert 60 <= arc <= 90


def test_groups_at_two_angles_are_one_part() -> None:
    images = some(4, (upright_tee, 10))
    quarter = np.stack([rotated(image.transpose(1, 2, 0).astype(np.float32), 90) for image in images])
    turned = polar_maps(quarter.transpose(0, 3, 1, 2).astype(np.uint8))
    assert is_rotated(polar_maps(images), turned)
    assert not is_rotated(polar_maps(images), polar_maps(some(5, (upright_tee, 10))))
    assert not is_rotated(polar_maps(images), polar_maps(some(6, (upright_arm, 10))))

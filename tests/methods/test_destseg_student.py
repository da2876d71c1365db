"""DeSTSeg's student: its published size, what its outputs are made of, and teachers of every shape."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from handmade import noise
from torch import Tensor, nn
from torch.nn import functional

from automl_ad.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from automl_ad.methods.destseg.student import Student

RESNET18 = ([64, 128, 256], [4, 8, 16])


class Answer(nn.Module):
    """Gives what it was told, whatever it is shown, and keeps what it was shown."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer, self.shown = answer, torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.shown = images
        return self.answer


def small(channels: Sequence[int], strides: Sequence[int], blocks: int = 1) -> Student:
    torch.manual_seed(0)
    return Student(channels, strides, 8, blocks).eval()


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_published_student_has_24_7_million_parameters_and_projects_nothing() -> None:
    student = Student(*RESNET18)
    assert parameters(student) == pytest.approx(24.7e6, rel=0.02)
    assert parameters(student.outputs) == 0


def test_encoder_blocks_start_as_their_shortcuts_and_decoder_blocks_do_not() -> None:
    student = small([8], [4])
    scales = {name: weight for name, weight in student.named_parameters() if name.endswith("bn2.weight")}
    assert {name.split(".")[0]: bool(weight.any()) for name, weight in scales.items()} == {
        "encoder": False,
        "decoder": True,
    }


def test_weights_start_at_the_scale_of_their_outputs() -> None:
    deepest = small([8], [4], blocks=2).decoder[0][1].conv1.weight.detach()
    assert float(deepest.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)


def test_images_are_normalised_as_imagenet() -> None:
    student = small([8], [32])
    student.encoder = Answer(torch.zeros(1, 64, 1, 1))
    image = torch.tensor(IMAGENET_MEAN)[None, :, None, None] + torch.tensor(IMAGENET_STD)[None, :, None, None]
    student(image.expand(1, 3, 32, 32), [(1, 1)])
    torch.testing.assert_close(student.encoder.shown, torch.ones(1, 3, 32, 32))


def test_nothing_gets_past_the_bottleneck() -> None:
    student = small([8, 16, 5], [4, 8, 16])
    student.encoder = Answer(noise(1, 64, 2, 2))
    sizes = [(16, 16), (8, 8), (4, 4)]
    with torch.no_grad():
        for first, second in zip(
            student(torch.zeros(1, 3, 64, 64), sizes), student(torch.rand(1, 3, 64, 64), sizes), strict=True
        ):
            assert torch.equal(first, second)


def test_stages_follow_each_other_at_twice_the_resolution() -> None:
    student = small([64, 64, 64], [32, 16, 8])
    ramp = torch.tensor([0.0, 4.0]).expand(1, 64, 2, 2)
    student.encoder, student.outputs = Answer(ramp), nn.ModuleList(nn.Identity() for _ in range(3))
    student.decoder = nn.ModuleList(nn.Identity() for _ in range(3))
    coarse, middle, fine = student(torch.zeros(1, 3, 64, 64), [(2, 2), (4, 4), (8, 8)])
    assert torch.equal(coarse, ramp)
    assert middle[0, 0, 1].tolist() == [0, 1, 3, 4]  # corners are not aligned
    assert fine[0, 0, 3].tolist() == [0, 0.25, 0.75, 1.5, 2.5, 3.25, 3.75, 4]


@pytest.mark.parametrize(
    ("stride", "stages"), [(1, 4), (2, 4), (4, 4), (5, 4), (6, 3), (8, 3), (11, 3), (12, 2), (14, 2), (16, 2), (32, 1)]
)
def test_levels_read_the_nearest_stage_and_no_finer_one_is_built(stride: int, stages: int) -> None:
    student = small([7], [stride])
    assert len(student.decoder) == stages
    assert student.outputs[0].weight.shape == (7, 64 >> (stages - 1), 1, 1)


def test_levels_that_share_a_stage_get_answers_of_their_own() -> None:
    student = small([32, 32], [16, 14])
    first, second = student(torch.rand(1, 3, 64, 64), [(4, 4), (4, 4)])
    assert not torch.allclose(first, second, atol=0.01)
    assert parameters(small([32], [16]).outputs) == 0


@pytest.mark.parametrize(
    ("strides", "channels", "sizes", "image"),
    [
        ((4, 8, 16), (5, 9, 3), [(24, 40), (12, 20), (6, 10)], (96, 160)),
        ((16,) * 4, (12,) * 4, [(6, 4)] * 4, (96, 64)),
        ((14, 14), (12, 12), [(5, 7)] * 2, (64, 96)),  # 64 x 96 pixels, snapped to patches of 14
        ((2,), (4,), [(32, 32)], (64, 64)),
        ((4, 8), (5, 9), [(17, 23), (9, 12)], (68, 92)),
        ((1, 2, 4, 8, 16, 32), (3,) * 6, [(32 >> k, 64 >> k) for k in range(6)], (32, 64)),
    ],
    ids=["resnet", "vit", "vit14", "stem", "odd", "vgg"],
)
def test_answers_have_the_shapes_of_the_teacher(
    strides: tuple[int, ...], channels: tuple[int, ...], sizes: list[tuple[int, int]], image: tuple[int, int]
) -> None:
    with torch.no_grad():
        answers = small(channels, strides)(torch.rand(2, 3, *image), sizes)
    wanted = [(2, count, *size) for count, size in zip(channels, sizes, strict=True)]
    assert [tuple(level.shape) for level in answers] == wanted


def test_a_stage_is_resized_without_aligning_corners() -> None:
    student = small([32], [16])
    whole, resized = (student(torch.ones(1, 3, 64, 96) * 0.3, [size])[0] for size in ((4, 6), (5, 7)))
    by_hand = functional.interpolate(whole, size=(5, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, by_hand)

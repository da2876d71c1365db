"""What each method offers to a search, on all kinds of backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from spaces import EFFORTS, EMBEDDED, RESNET, STEM, VIT

from automl_ad.backbones.base import NO_BACKBONE
from automl_ad.errors import InputError
from automl_ad.methods.base import MethodSettings
from automl_ad.methods.dfr import DfrSettings
from automl_ad.methods.names import METHODS
from automl_ad.methods.registry import detector_class
from automl_ad.methods.space import BackboneSpace, Effort, Space, decode_levels, encode_levels
from automl_ad.study.proposals import first_proposals, parameters_of, suggest

VGG19 = BackboneSpace(
    "vgg19",
    tuple(range(-16, 0)),
    (1, 1, 2, 2) + (4,) * 4 + (8,) * 4 + (16,) * 4,
    (64, 64, 128, 128) + (256,) * 4 + (512,) * 8,
)
SPACES = {
    "resnet_and_filters": (RESNET, EMBEDDED),
    "resnet_four_levels": (BackboneSpace("resnet18", (-4, -3, -2, -1), (4, 8, 16, 32)),),
    "filters": (EMBEDDED,),
    "vit": (VIT,),
    "vit_14": (BackboneSpace("dinov2", tuple(range(-12, 0)), (14,) * 12), EMBEDDED),
    "vgg": (VGG19, RESNET),
    "vgg_reflect": (BackboneSpace("vgg19+reflect", VGG19.levels, VGG19.strides, VGG19.channels),),
    "vgg_partial": (BackboneSpace("vgg19", (-16, -15, -14, -13, -12), (1, 1, 2, 2, 4)),),
    "vgg_stem": (BackboneSpace("vgg19", (-16, -15), (1, 1)),),
    "partial_two": (BackboneSpace("resnet18", (-5, -4, -3), (2, 4, 8)),),
    "partial_one": (BackboneSpace("resnet18", (-5, -4), (2, 4)),),
    "stem_only": (STEM,),
}
CASES = [
    # A complete VGG is where the effort changes which levels are offered; the other spaces take turns.
    *(("vgg", effort) for effort in EFFORTS),
    *((name, EFFORTS[turn % len(EFFORTS)]) for turn, name in enumerate(name for name in SPACES if name != "vgg")),
]
"""Every kind of backbones and every effort, in a few pairs."""
TRAINING_FREE = ("padim", "patchcore", "dfr")
"""Methods that fit without training, at least in one of their forms; they suit every backbone."""
TEACHER_BOUND = ("realnet", "destseg")
"""Methods that compare a trained network with what a backbone says: they need one that says enough."""


def check_levels(made: MethodSettings, space: Space) -> None:
    """All levels are at hand, and there are some unless the method does without a backbone."""
    if made.backbone == NO_BACKBONE:
        assert made.levels == ()
    else:
        assert len(made.levels) > 0
        assert set(made.levels) <= set(space.backbone(made.backbone).levels)


def random_settings(method: str, space: Space, count: int) -> list[MethodSettings]:
    """What random draws give; all parameters carry the name of the method."""
    cls = detector_class(method)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    made = [cls.settings_type(**cls.suggest(trial, space)) for trial in trials]
    assert all(name.startswith(f"{method}.") for trial in trials for name in trial.params)
    return made


@pytest.fixture(params=CASES, ids=lambda pair: "-".join(pair))
def space(request: pytest.FixtureRequest) -> Space:
    name, effort = request.param
    return Space(SPACES[name], effort)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_lie_in_the_space_and_come_back_from_their_parameters(method: str, space: Space) -> None:
    cls = detector_class(method)
    for settings in cls.defaults(space):
        trial = optuna.trial.FixedTrial(parameters_of(method, settings, space))
        assert cls.suggest(trial, space) == settings


@pytest.mark.parametrize("method", TRAINING_FREE)
def test_training_free_methods_have_a_default_for_every_backbone(method: str, space: Space) -> None:
    defaults = detector_class(method).defaults(space)
    assert {settings["backbone"] for settings in defaults} == {backbone.name for backbone in space.backbones}


@pytest.mark.parametrize("method", TEACHER_BOUND)
def test_methods_with_a_teacher_have_one_default_on_the_first_network(method: str, space: Space) -> None:
    networks = [backbone.name for backbone in space.backbones if not backbone.fixed]
    if method == "destseg":
        networks.sort(key=lambda name: name != "resnet18")  # the published one
    assert [settings["backbone"] for settings in detector_class(method).defaults(space)] == networks[:1]


def test_the_method_without_a_backbone_has_one_default_whatever_is_at_hand(space: Space) -> None:
    (settings,) = detector_class("anoseg").defaults(space)
    assert settings["backbone"] == NO_BACKBONE
    assert tuple(settings["levels"]) == ()


@pytest.mark.parametrize("method", METHODS)
def test_defaults_make_settings_with_levels_at_hand(method: str, space: Space) -> None:
    for settings in detector_class(method).defaults(space):
        made = detector_class(method).settings_type(**settings)
        assert isinstance(made, MethodSettings)
        check_levels(made, space)


@pytest.mark.parametrize("method", METHODS)
def test_random_suggestions_make_settings_with_levels_at_hand(method: str, space: Space) -> None:
    for made in random_settings(method, space, 5):
        check_levels(made, space)


@pytest.mark.parametrize("sources", [("texture",), ("texture", "sdas")])
@pytest.mark.parametrize("method", METHODS)
def test_no_candidate_learns_from_what_the_study_or_its_method_does_not_offer(
    method: str, sources: tuple[str, ...]
) -> None:
    """Pieces of the product itself can be had in every study."""
    cls, space = detector_class(method), Space((RESNET, EMBEDDED), "quick", sources=sources)
    defaults = [cls.settings_type(**settings) for settings in cls.defaults(space)]
    learned = [made.learns_from for made in [*defaults, *random_settings(method, space, 60)]]
    every = frozenset[str]().union(*learned)
    assert every <= {*sources, "cutpaste"}
    assert every == cls.learns_from & {*sources, "cutpaste"}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_learned_from_is_what_the_recipe_names(method: str) -> None:
    space = Space((RESNET, EMBEDDED), "quick", sources=("texture", "sdas"))
    for made in random_settings(method, space, 20):
        assert made.learns_from == set(made.recipe.families if made.recipe is not None else ())
        assert made.trains or made.recipe is None


def test_settings_outside_the_space_are_refused() -> None:
    space = Space((EMBEDDED,), "quick")
    with pytest.raises(ValueError, match=r"padim\.channels offers"):
        parameters_of("padim", {"backbone": "embedded", "levels": (-4,), "channels": 7}, space)
    sdas = {"backbone": "resnet18", "levels": (-4, -3), "families": "sdas", "strength": (0.3, 0.4)}
    with pytest.raises(ValueError, match=r"strength offers .* wants '\(0\.3, 0\.4\)'"):
        parameters_of("realnet", sdas, Space((RESNET,), "faithful", sources=("texture", "sdas")))
    with pytest.raises(ValueError, match=r"levels\.embedded offers"):
        parameters_of("dfr", {"backbone": "embedded", "levels": (-4, -1), "model": "pca"}, space)


def trains(proposal: dict[str, Any], methods: Sequence[str], space: Space) -> bool:
    """Whether the fit of a proposal is iterative."""
    configuration = suggest(optuna.trial.FixedTrial(proposal), methods, {256: space})
    return detector_class(configuration.method).settings_type(**configuration.settings).trains


@pytest.mark.parametrize("methods", [TRAINING_FREE, METHODS, METHODS[::-1]], ids=["training_free", "all", "reversed"])
def test_first_proposals_cover_all_defaults_and_training_comes_last(methods: Sequence[str], space: Space) -> None:
    proposals = first_proposals(methods, {256: space})
    assert len(proposals) == sum(len(detector_class(method).defaults(space)) for method in methods)
    assert proposals[0]["method"] == ("padim" if space.backbones[0].fixed else "patchcore")
    flags = [trains(proposal, methods, space) for proposal in proposals]
    assert flags == sorted(flags)
    assert 0 < sum(flags) < len(flags)


@pytest.mark.parametrize("methods", [TRAINING_FREE, METHODS[::-1]])
def test_the_baseline_runs_on_a_network_whatever_was_named_first(methods: Sequence[str]) -> None:
    proposals = first_proposals(methods, {256: Space((EMBEDDED, RESNET), "quick")})
    assert proposals == first_proposals(methods, {256: Space((RESNET, EMBEDDED), "quick")})
    assert (proposals[0]["method"], proposals[0]["patchcore.backbone"]) == ("patchcore", "resnet18")


WIDE = BackboneSpace("wide_resnet50_2", RESNET.levels, RESNET.strides, (64, 256, 512, 1024, 2048))
VGG_REFLECT = BackboneSpace("vgg19+reflect", VGG19.levels, VGG19.strides, VGG19.channels)
FAITHFUL = Space((WIDE, VGG_REFLECT, RESNET), "faithful", sources=("texture", "sdas"))
"""The networks of the preset faithful, in its order."""


@pytest.mark.parametrize(
    ("method", "backbone", "published"),
    [
        ("padim", "wide_resnet50_2", {"levels": (-4, -3, -2), "channels": 550}),
        ("padim", "resnet18", {"levels": (-4, -3, -2), "channels": 100}),
        ("patchcore", "wide_resnet50_2", {"levels": (-3, -2), "ratio": 0.01}),
        (
            "destseg",
            "resnet18",
            {"levels": (-4, -3, -2), "student_steps": 1000, "head_steps": 4000, "batch": 32}
            | {"student_rate": 0.4, "head_rate": 0.1, "head_share": 0.1, "gamma": 4.0, "head_optimiser": "sgd"}
            | {"width": 64, "blocks": 2, "head_width": 256, "rotation": "none", "normal_share": 0.0},
        ),
        (
            "realnet",
            "wide_resnet50_2",
            {"levels": (-4, -3, -2, -1), "selection": "published", "kept": 1 / 3, "mode": "both", "network": "unet"}
            | {"batch": 16, "rate": 1e-4, "families": "sdas", "strength": (0.5, 1.0), "opacity": 0.5},
        ),
        (
            "dfr",
            "vgg19+reflect",
            {"model": "autoencoder", "stride": 4, "variance": 0.9, "rate": 1e-4, "autoencoder": "released"},
        ),
    ],
)
def test_the_preset_faithful_proposes_what_was_published(method: str, backbone: str, published: dict[str, Any]) -> None:
    """Defard et al. 2021, Roth et al. 2022, Zhang et al. 2023 and 2024, Yang et al. 2020 with their code."""
    found = [
        settings
        for settings in detector_class(method).defaults(FAITHFUL)
        if settings["backbone"] == backbone and settings.get("model", "autoencoder") == "autoencoder"
    ]
    assert len(found) == 1
    assert found[0] | published == found[0]
    parameters_of(method, found[0], FAITHFUL)  # the sampler can draw it


def test_other_efforts_search_the_channels_that_they_did() -> None:
    for effort in ("quick", "balanced", "thorough"):
        space = Space((WIDE, RESNET), effort)  # type: ignore[arg-type]
        assert {settings["channels"] for settings in detector_class("padim").defaults(space)} == {100}
        with pytest.raises(ValueError, match=r"padim\.channels offers"):
            parameters_of("padim", {"backbone": "resnet18", "levels": (-4,), "channels": 550}, space)


def test_published_settings_by_hand() -> None:
    space = Space((RESNET,), "faithful")
    (padim,), (patchcore,) = detector_class("padim").defaults(space), detector_class("patchcore").defaults(space)
    assert (padim["levels"], padim["channels"]) == ((-4, -3, -2), 100)
    assert (patchcore["levels"], patchcore["ratio"]) == ((-3, -2), 0.01)
    trained = detector_class("dfr").defaults(space)[-1]
    assert (trained["model"], trained["stride"], trained["variance"], trained["rate"]) == ("autoencoder", 4, 0.9, 1e-4)
    assert trained["steps"] * trained["batch"] == pytest.approx(700 * 209 * 64 * 64, rel=0.02)


def channels_of(levels: tuple[int, ...]) -> int:
    return sum(VGG19.channels[VGG19.levels.index(level)] for level in levels)


@pytest.mark.parametrize("effort", ["thorough", "faithful"])
def test_published_dfr_by_hand(effort: Effort) -> None:
    """f1:12, that is relu1_1 to relu4_4 of VGG19, on a grid of stride 4 with 90 % of the variance."""
    trained = detector_class("dfr").defaults(Space((RESNET, VGG19), effort))[-1]
    assert (trained["backbone"], trained["levels"]) == ("vgg19", tuple(range(-16, -4)))
    assert channels_of(trained["levels"]) == 3456
    assert (trained["autoencoder"], trained["stride"], trained["variance"]) == ("released", 4, 0.9)
    assert DfrSettings(**trained).autoencoder == "released"


@pytest.mark.parametrize("effort", ["quick", "balanced"])
def test_short_efforts_take_the_last_layers_of_two_stages(effort: Effort) -> None:
    trained = detector_class("dfr").defaults(Space((VGG19,), effort))[-1]
    assert trained["levels"] == (-9, -5)
    assert level_choices(VGG19, effort, "autoencoder") == VGG19.runs()


def level_choices(backbone: BackboneSpace, effort: Effort, model: str) -> list[tuple[int, ...]]:
    parameters = optuna.trial.FixedTrial(
        {
            "dfr.backbone": backbone.name,
            "dfr.model": model,
            "dfr.variance": 0.9,
            f"dfr.stride.{model}": 16,
            "dfr.autoencoder": "paper",
            **{f"dfr.levels.{backbone.name}{end}": encode_levels(backbone.usable[:1]) for end in ("", ".layers")},
        }
    )
    detector_class("dfr").suggest(parameters, Space((backbone,), effort))
    (drawn,) = [kind for name, kind in parameters.distributions.items() if name.startswith("dfr.levels.")]
    assert isinstance(drawn, optuna.distributions.CategoricalDistribution)
    return [decode_levels(str(choice)) for choice in drawn.choices]


@pytest.mark.parametrize("effort", ["thorough", "faithful"])
def test_published_levels_are_choices_where_memory_allows(effort: Effort) -> None:
    for model in ("pca", "autoencoder"):
        choices = level_choices(VGG19, effort, model)
        assert choices[: -len(STACKS)] == VGG19.runs()
        assert [(levels, channels_of(levels)) for levels in choices[-len(STACKS) :]] == STACKS
    assert level_choices(VGG19, effort, "image_pca") == VGG19.runs()
    assert level_choices(RESNET, effort, "autoencoder") == RESNET.runs()


STACKS = [(tuple(range(-16, -4)), 3456), (tuple(range(-16, 0)), 5504), (tuple(range(-12, -4)), 3072)]
"""f1:12, f1:16 and relu3_1 to relu4_4, with their channels."""


def test_unknown_method_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'nothing' .*padim, patchcore, dfr"):
        detector_class("nothing")


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_found_by_name(method: str) -> None:
    assert detector_class(method).name == method


def test_settings_are_frozen_and_know_no_strangers() -> None:
    kind = detector_class("padim").settings_type
    with pytest.raises(ValueError, match="Extra inputs"):
        kind(backbone="embedded", levels=(-1,), nonsense=1)
    with pytest.raises(ValueError, match="frozen"):
        kind(backbone="embedded", levels=(-1,)).levels = (-2,)

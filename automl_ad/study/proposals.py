"""From trials to configurations and back: what the sampler draws, and the defaults that are tried first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from automl_ad.methods.registry import detector_class
from automl_ad.methods.space import Space, encode_levels, networks_first
from automl_ad.methods.synthetic_training import encode_strength
from automl_ad.study.configuration import Configuration

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def suggest(trial: BaseTrial, methods: Sequence[str], spaces: Mapping[int, Space]) -> Configuration:
    """Draws a configuration.

    Args:
        trial: Optuna's trial.
        methods: Methods searched.
        spaces: The space at each working size.
    """
    method = str(trial.suggest_categorical("method", list(methods)))
    sides = list(spaces)
    side = int(trial.suggest_categorical("side", sides)) if len(sides) > 1 else sides[0]
    return Configuration.of(method, side, detector_class(method).suggest(trial, spaces[side]))


def first_proposals(methods: Sequence[str], spaces: Mapping[int, Space]) -> list[dict[str, Any]]:
    """Trial parameters of the defaults, the training-free baseline first, then cheap ones before those that train.

    Networks come before the fixed filters, in whatever order they were asked for. On a network, the training-free
    baseline is PatchCore, the most robust training-free method of independent benchmarks; on fixed filters it is PaDiM,
    since PatchCore's distances suit few, unlike channels badly.
    """
    side = next(iter(spaces))
    ordered = replace(spaces[side], backbones=networks_first(spaces[side].backbones))
    preferred = "padim" if ordered.backbones[0].fixed else "patchcore"
    methods = sorted(methods, key=lambda method: method != preferred)
    found: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
    for position, method in enumerate(methods):
        cls = detector_class(method)
        for place, settings in enumerate(cls.defaults(ordered)):
            proposal = {"method": method, **({"side": side} if len(spaces) > 1 else {})}
            trains = cls.settings_type(**settings).trains
            found.append(((int(trains), place, position), proposal | parameters_of(method, settings, spaces[side])))
    return [proposal for _, proposal in sorted(found, key=lambda item: item[0])]


def parameters_of(method: str, settings: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The trial parameters that make ``suggest`` return ``settings``.

    Raises:
        ValueError: A setting is not among the choices of the method's search space.
    """
    recorder = _Recorder(settings)
    detector_class(method).suggest(recorder, space)  # type: ignore[arg-type]  # duck-typed: only suggestions are asked
    return recorder.parameters


_ENCODED: Mapping[str, Callable[[Any], str]] = {"levels": encode_levels, "strength": encode_strength}
"""Settings that are suggested in other words."""


class _Recorder:
    """Answers every suggestion with the wanted setting and notes it."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.wanted = wanted
        self.parameters: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        key = name.split(".")[1]
        value = self.wanted.get(key)
        if key not in self.wanted:
            value = choices[0]
        elif key in _ENCODED:
            value = _ENCODED[key](value)
        if value not in choices:
            raise ValueError(f"{name} offers {list(choices)} but a default wants {value!r}")
        self.parameters[name] = value
        return value

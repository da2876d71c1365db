"""What a trial tries."""

from __future__ import annotations

from typing import Any

import pytest

from automl_ad.methods.registry import detector_class
from automl_ad.study.configuration import Configuration


class TestConfiguration:
    @pytest.mark.parametrize(
        ("method", "settings", "wanted"),
        [
            ("padim", {}, set()),
            ("dfr", {"model": "autoencoder"}, set()),
            ("realnet", {}, {"texture"}),
            ("realnet", {"families": "sdas"}, {"sdas"}),
            ("realnet", {"families": "both"}, {"texture", "sdas"}),
        ],
    )
    def test_settings_know_what_they_learn_from(self, method: str, settings: dict[str, Any], wanted: set[str]) -> None:
        configuration = Configuration.of(method, 64, {"backbone": "embedded", "levels": (-4, -3), **settings})
        assert detector_class(method).settings_type(**configuration.settings).learns_from == wanted

    def test_what_it_learns_from_is_part_of_what_it_is(self) -> None:
        common = {"backbone": "embedded", "levels": (-4, -3)}
        plain, sdas = (Configuration.of("realnet", 64, common | {"families": name}) for name in ("texture", "sdas"))
        assert plain.digest != sdas.digest
        assert plain.digest == Configuration.of("realnet", 64, common).digest

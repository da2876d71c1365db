from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl_ad.store.plain_json import plain

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_plain_values_stay_and_survive_json(value):
    assert plain(value) == value
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == value


def test_numpy_paths_and_tuples():
    value = {"a": (np.float32(0.5), np.int64(3), np.bool_(True)), "b": np.eye(2), "c": Path("x") / "y"}
    made = plain(value)
    assert made == {"a": [0.5, 3, True], "b": [[1.0, 0.0], [0.0, 1.0]], "c": str(Path("x") / "y")}
    assert [type(item) for item in made["a"]] == [float, int, bool]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.array([np.inf])])
def test_non_finite_numbers_become_null_at_any_depth(odd):
    assert json.dumps(plain({"x": [odd]}), allow_nan=False) in ('{"x": [null]}', '{"x": [[null]]}')


@pytest.mark.parametrize("bad", [object(), {1: "x"}, {"x": {None: 1}}, {"x": {1, 2}}, b"bytes"])
def test_values_without_a_json_form_are_refused(bad):
    with pytest.raises(TypeError, match="JSON"):
        plain(bad)

"""Manifests and fingerprints, without Spark."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_spark.lake import Manifest, Published, TableInfo, fingerprint

MANIFEST = Manifest(
    step="split",
    version="0123456789abcdef",
    created="2024-01-02T03:04:05.000006+00:00",
    settings={"k": 5, "names": ["é", "b"]},
    inputs={"ratings": "ffff"},
    fingerprint="0123456789abcdef",
    package_version="0.1.0",
    tables={"ratings": TableInfo(rows=3, schema="user BIGINT")},
    extra={"rejected": 0.5},
)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), min_size=2), st.randoms())
def test_fingerprint_ignores_the_order_of_keys(values, random):
    keys = list(values)
    random.shuffle(keys)
    assert fingerprint("step", values) == fingerprint("step", {key: values[key] for key in keys})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("ab",)),
        (({"a": 1},), ({"a": 1.5},)),
        (({"a": 1},), ({"b": 1},)),
        (([1, 2],), ([2, 1],)),
        ((None,), ("None",)),
        (("1",), (1,)),
    ],
)
def test_fingerprint_tells_values_apart(one, other):
    assert fingerprint(*one) != fingerprint(*other)


def test_fingerprint_is_pinned_across_versions_of_python():
    # Versions in a lake are named by it: another value for the same input would make every step run again.
    assert fingerprint("split", {"seed": 7, "k": [1, None, True], "name": "é"}) == "b099000bb37c7d65"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_fingerprint_refuses_what_does_not_hash_alike_twice(value):
    with pytest.raises((TypeError, ValueError), match="not JSON"):
        fingerprint(value)


def test_manifest_survives_its_own_json():
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_manifest_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Manifest(**{**vars(MANIFEST), "extra": {"rmse": float("nan")}}).to_json()


@pytest.mark.parametrize("cut", [0, 1, 40, 200, len(MANIFEST.to_json()) - 3])
def test_a_manifest_that_is_cut_off_is_none(cut):
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        Manifest.from_json(MANIFEST.to_json()[:cut])


@pytest.mark.parametrize(
    "damage",
    [lambda d: d.pop("tables"), lambda d: d.pop("step"), lambda d: d.update(more=1), lambda d: d.update(tables=[])],
)
def test_a_manifest_with_other_fields_is_none(damage):
    data = json.loads(MANIFEST.to_json())
    damage(data)
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_other_json_is_no_manifest(text):
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(text)


def test_tables_lie_inside_the_version():
    assert Published(path="s3a://b/x/v", manifest=MANIFEST).table("ratings") == "s3a://b/x/v/ratings"

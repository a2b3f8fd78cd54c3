"""Saved models: what comes back is what was saved, and damage is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_spark.als.model import FittedModel, SideModel
from recsys_spark.als.model_io import load_model, save_model
from recsys_spark.errors import DataError
from tests.model_factory import random_model

FILES = ("history", "userFactors", "itemFactors", "userProjection", "itemProjection")


def assert_same_side(left: SideModel, right: SideModel) -> None:
    assert left.ids.equals(right.ids)
    assert left.columns == right.columns
    for name in ("factors", "biases", "counts", "projection", "projection_bias"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.dtype == other.dtype
        assert one.flags.writeable
        np.testing.assert_array_equal(one, other, err_msg=name)


def assert_same_model(left: FittedModel, right: FittedModel) -> None:
    assert_same_side(left.user, right.user)
    assert_same_side(left.item, right.item)
    for name in ("mu", "clip", "settings", "best_iteration", "stop_reason"):
        assert getattr(left, name) == getattr(right, name), name
    assert left.history.schema == right.history.schema
    assert str(left.history.to_pylist()) == str(right.history.to_pylist())  # as text: NaN is not equal to NaN


@pytest.mark.parametrize("string_ids", [False, True])
@pytest.mark.parametrize("shape", [(12, 30, 5), (0, 3, 2), (4, 1, 0)])
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, shape: tuple[int, int, int], string_ids: bool) -> None:
    model = random_model(*shape, string_ids=string_ids)
    save_model(model, tmp_path / "deep" / "model")
    assert_same_model(load_model(tmp_path / "deep" / "model"), model)


def test_mu_survives_as_the_same_double(tmp_path: Path) -> None:
    model = random_model()
    object.__setattr__(model, "mu", 0.1 + 0.2)
    save_model(model, tmp_path / "m")
    assert load_model(tmp_path / "m").mu == 0.1 + 0.2


def test_the_tables_are_ordinary_parquet(tmp_path: Path) -> None:
    model = random_model()
    save_model(model, tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(
        ["model.json", *(f"{f}.parquet" for f in FILES)]
    )
    items = pq.read_table(tmp_path / "m" / "itemFactors.parquet")
    assert items.column_names == ["id", "factors", "bias", "count"]
    assert items["factors"][3].as_py() == [float(x) for x in model.item.factors[3]]
    projection = pq.read_table(tmp_path / "m" / "itemProjection.parquet").to_pylist()
    assert [(row["group"], row["name"], row["mean"]) for row in projection] == [
        ("genre", "genre=Drama", None),
        ("length", "length", 95.5),
    ]


def test_saving_never_mixes_two_models(tmp_path: Path) -> None:
    save_model(random_model(), tmp_path / "m")
    with pytest.raises(DataError, match="is not an empty directory"):
        save_model(random_model(), tmp_path / "m")


@pytest.mark.parametrize("name", FILES)
def test_an_absent_table_is_named(tmp_path: Path, name: str) -> None:
    save_model(random_model(), tmp_path / "m")
    (tmp_path / "m" / f"{name}.parquet").unlink()
    with pytest.raises(DataError, match=f"{name}.parquet is absent"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_table_is_named(tmp_path: Path, name: str) -> None:
    save_model(random_model(), tmp_path / "m")
    path = tmp_path / "m" / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{name}.parquet cannot be read"):
        load_model(tmp_path / "m")


def test_a_flipped_byte_in_the_data_is_found(tmp_path: Path) -> None:
    save_model(random_model(users=200), tmp_path / "m")
    path = tmp_path / "m" / "userFactors.parquet"
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset + 200  # inside a page of factors
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"userFactors.parquet cannot be read"):
        load_model(tmp_path / "m")


def test_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a directory"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no model\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "does not describe a model of this package"),
        ({"format_version": 99}, "has format version 99, this release reads 1"),
        ({"mu": None}, "is damaged or does not fit"),
        ({"clip": [5, 1]}, "clip must be"),
        ({"settings": {"rang": 3}}, "rang"),
        ({"rank": 4}, "parquet holds factors that are not 4 wide"),
        (
            {"user": {"rows": 11, "features": 0, "ids": "int64"}},
            r"userFactors.parquet holds 12 rows, model.json says 11",
        ),
        ({"user": {"rows": 12, "features": 1, "ids": "int64"}}, r"userProjection.parquet holds 0 rows"),
        ({"user": {"rows": 12, "features": 0, "ids": "double"}}, "unknown type 'double'"),
        ({"user": {"rows": 12, "features": 0}}, "'ids'"),
    ],
)
def test_a_model_json_that_does_not_fit(tmp_path: Path, change: dict[str, object], words: str) -> None:
    save_model(random_model(), tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=words):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("content", ["{", "[1]", "", "[" * 200_000])
def test_a_model_json_that_is_no_object(tmp_path: Path, content: str) -> None:
    save_model(random_model(), tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text(content)
    with pytest.raises(DataError, match=r"cannot be read as JSON|does not describe a model"):
        load_model(tmp_path / "m")


def rewrite(path: Path, **columns: pa.Array) -> None:
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)


def test_tables_of_another_shape_are_refused(tmp_path: Path) -> None:
    save_model(random_model(users=2, rank=1), tmp_path / "m")
    path = tmp_path / "m" / "userFactors.parquet"
    rewrite(path, factors=pa.array([[1.0], [None]], pa.list_(pa.float32())))
    with pytest.raises(DataError, match="holds factors that are null or not finite"):
        load_model(tmp_path / "m")
    rewrite(path, factors=pa.array([[1.0], [1.0]]), bias=pa.array([float("inf"), 0.0], pa.float32()))
    with pytest.raises(DataError, match="holds biases that are null or not finite"):
        load_model(tmp_path / "m")
    rewrite(path, factors=pa.array([[1.0], None], pa.list_(pa.float32())))
    with pytest.raises(DataError, match="that are not 1 wide"):
        load_model(tmp_path / "m")
    rewrite(path, factors=pa.array(["a", "b"]))
    with pytest.raises(DataError, match="has other column types"):
        load_model(tmp_path / "m")
    pq.write_table(pq.read_table(path).drop_columns(["bias"]), path)
    with pytest.raises(DataError, match="has the columns"):
        load_model(tmp_path / "m")


def test_loading_and_scoring_need_no_spark(tmp_path: Path) -> None:
    save_model(random_model(), tmp_path / "m")
    program = (
        "import sys, pyarrow as pa\n"
        "from recsys_spark.als.model_io import load_model\n"
        f"model = load_model({str(tmp_path / 'm')!r})\n"
        "model.predict(pa.array([100]), pa.array([7])); model.top_n(pa.array([100]), 2)\n"
        "assert 'pyspark' not in sys.modules, 'pyspark was imported'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])

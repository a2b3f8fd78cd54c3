"""BlockALS offers all that pyspark.ml's ALS does; found out by looking at ALS itself, so that nothing is forgotten."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from pyspark.ml.param import Param
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import SparkSession

from recsys_spark import BlockALS, BlockALSModel
from recsys_spark.ml.spark_params import SEED

# A value of each of Spark's Params that is not its default.
NON_DEFAULT = {
    "rank": 3, "maxIter": 2, "regParam": 0.5, "numUserBlocks": 2, "numItemBlocks": 3, "implicitPrefs": True,
    "alpha": 2.0, "userCol": "u", "itemCol": "i", "seed": 5, "ratingCol": "r", "nonnegative": True,
    "checkpointInterval": 3, "intermediateStorageLevel": "DISK_ONLY", "finalStorageLevel": "NONE",
    "coldStartStrategy": "drop", "blockSize": 8, "predictionCol": "p",
}  # fmt: skip
# Wrappers of a Java object, which ours is not, are no part of what ALS offers.
JAVA = {"uid", "params"}


def params_of(cls: type) -> set[str]:
    return {name for name in dir(cls) if isinstance(getattr(cls, name), Param)}


def members(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")} - JAVA


def accessors(cls: type) -> set[str]:
    return {name for name in members(cls) if name.startswith(("get", "set"))}


def test_the_values_tried_are_of_all_params() -> None:
    assert NON_DEFAULT.keys() == params_of(ALS)


@pytest.mark.parametrize(("theirs", "ours"), [(ALS, BlockALS), (ALSModel, BlockALSModel)], ids=["als", "model"])
def test_params_accessors_and_methods(theirs: type, ours: type) -> None:
    recommend = {name for name in members(theirs) if name.startswith("recommend")}
    if any(name.startswith("recommend") for name in members(ours)):
        recommend = set()
    assert params_of(theirs) - params_of(ours) == set()
    assert members(theirs) - members(ours) - recommend == set()


def test_every_param_of_ours_has_accessors() -> None:
    for cls in (BlockALS, BlockALSModel):
        wanted = {f"{verb}{name[0].upper()}{name[1:]}" for name in params_of(cls) for verb in ("get", "set")}
        found = accessors(cls)
        assert wanted - found == set()


def test_defaults_are_those_of_spark(spark: SparkSession) -> None:
    theirs, ours = ALS(), BlockALS()
    for name in params_of(ALS) - {"seed"}:
        assert ours.getOrDefault(name) == theirs.getOrDefault(name), name
        assert ours.hasDefault(name) == theirs.hasDefault(name), name
    assert ours.getSeed() == SEED == spark._jvm.org.apache.spark.ml.recommendation.ALS().getSeed()


@pytest.mark.parametrize("method", ["__init__", "setParams"])
def test_keywords_and_their_defaults_are_those_of_spark(method: str) -> None:
    theirs, ours = (inspect.signature(getattr(cls, method)).parameters for cls in (ALS, BlockALS))
    assert {n: (p.kind, p.default) for n, p in theirs.items() if n != "self"} == {
        n: (p.kind, p.default) for n, p in ours.items() if n in theirs and n != "self"
    }


def test_every_setter_is_read_by_its_getter_and_returns_the_object() -> None:
    als = BlockALS()
    for name, value in NON_DEFAULT.items():
        capital = name[0].upper() + name[1:]
        assert getattr(als, f"set{capital}")(value) is als
        assert getattr(als, f"get{capital}")() == value == als.getOrDefault(name)
    assert {p.name: v for p, v in als.extractParamMap().items() if p.name in NON_DEFAULT} == NON_DEFAULT
    als.setNumBlocks(7)
    assert (als.getNumUserBlocks(), als.getNumItemBlocks()) == (7, 7)
    als.clear(als.regParam)
    assert als.getRegParam() == 0.1
    assert als.setRegUserBias(4.0).getRegUserBias() == 4.0
    assert als.getClipPredictions() is True


def test_keywords_set_params_and_none_leaves_them() -> None:
    keywords = {n: v for n, v in NON_DEFAULT.items() if n != "predictionCol"}
    als = BlockALS(**keywords)
    assert {name: als.getOrDefault(name) for name in keywords} == keywords
    assert als.setParams(seed=None, rank=4) is als
    assert (als.getSeed(), als.getRank()) == (5, 4)
    with pytest.raises(TypeError, match="BlockALS has no Param 'rnak'; the nearest one is rank"):
        BlockALS(rnak=3)
    with pytest.raises(TypeError, match="forces keyword arguments"):
        BlockALS(3)


def test_values_of_no_meaning_are_refused() -> None:
    for name, value, words in (
        ("intermediateStorageLevel", "NONE", "'NONE' is not one of DISK_ONLY"),
        ("finalStorageLevel", "ATTIC", "'ATTIC' is not one of .*, NONE, OFF_HEAP"),
        ("coldStartStrategy", "often", "'often' is not one of nan, drop, fallback"),
        ("rank", "three", "Could not convert"),
    ):
        with pytest.raises(TypeError, match=words):
            BlockALS(**{name: value})


def test_explained_params(tmp_path: Path) -> None:
    text = BlockALS(rank=7).explainParams()
    assert "rank: width of the factors; 0 is a model of biases alone (default: 10, current: 7)" in text
    assert {line.split(":")[0] for line in text.splitlines()} >= params_of(ALS)


def test_what_the_defaults_mean() -> None:
    settings = BlockALS().settings().resolved()
    assert (settings.user.reg, settings.item.reg, settings.user.reg_mode) == (0.1, 0.1, "weighted")
    assert (settings.mean, settings.user.bias, settings.item.bias) == ("fitted", "learned", "learned")
    implicit = BlockALS(implicitPrefs=True).settings().resolved()
    assert (implicit.mean, implicit.user.bias, implicit.item.bias) == ("none", "none", "none")
    plain = BlockALS.sparkDefaults(rank=4, regParam=0.2)
    settings = plain.settings().resolved()
    assert (settings.mean, settings.user.bias, settings.item.bias) == ("none", "none", "none")
    assert (settings.rank, settings.item.reg, settings.item.reg_mode) == (4, 0.2, "weighted")
    assert plain.getClipPredictions() is False
    assert BlockALS(regUser=3.0, regModeUser="constant").settings().user.reg == 3.0

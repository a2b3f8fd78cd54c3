"""Recorded schemas are read as Spark reads them, mostly without its parser."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from recsys_spark.lake.ddl import schema_of

PLAIN = (
    "user BIGINT NOT NULL, indices ARRAY<INT>, values ARRAY<FLOAT>, day DATE, at TIMESTAMP",
    "a TINYINT, b SMALLINT, c DOUBLE, d BOOLEAN, e STRING NOT NULL",
)
OTHERS = (
    "`a b` INT, m MAP<STRING, INT>",
    "s STRUCT<x: INT, y: STRING>, price DECIMAL(10,2)",
    "a INT COMMENT 'NOT NULL', b ARRAY<ARRAY<INT>>, at TIMESTAMP_NTZ",
)


@pytest.mark.parametrize("ddl", [*PLAIN, *OTHERS])
def test_a_recorded_schema_is_read_as_spark_reads_it(spark: SparkSession, ddl: str) -> None:
    recorded = spark.createDataFrame([], ddl)._jdf.schema().toDDL()
    assert schema_of(recorded) == T.DataType.fromDDL(recorded)


@pytest.mark.parametrize("ddl", PLAIN)
def test_plain_columns_need_no_parser(spark: SparkSession, ddl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = spark.createDataFrame([], ddl)._jdf.schema().toDDL()
    monkeypatch.setattr(T.DataType, "fromDDL", lambda ddl: pytest.fail("parsed by Spark"))
    assert schema_of(recorded).fieldNames() == [field.split()[0] for field in ddl.split(", ")]

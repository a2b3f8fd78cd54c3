"""Movies and users from physical lines: parsed by the functions of ``parse``, the first row of an id kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys_spark import schema
from recsys_spark.errors import DataError
from recsys_spark.ingest.parse import Lines, RowFunction, demographic_user, made_schema, movie, parse_batches, user
from recsys_spark.ingest.raw import RawTable
from recsys_spark.ingest.releases import CSV, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_DEMOGRAPHICS = ("gender", "age", "occupation", "region")


def parse_movies(lines: DataFrame, table: RawTable, partitions: int) -> DataFrame:
    """Movies from physical lines: a row a line, with `row` (item, title, year, genres), `source`, `content`, `reason`.

    They come in so many partitions, sorted by item in each.
    """
    fields = pa.schema(
        [
            (schema.ITEM, pa.int64()),
            (schema.TITLE, pa.string()),
            (schema.YEAR, pa.int32()),
            (schema.GENRES, pa.list_(pa.string())),
        ]
    )
    return _first_of_each_id(_parse(lines, table, movie, fields), schema.ITEM, "duplicate movie id", partitions)


def parse_users(lines: DataFrame, table: RawTable, partitions: int) -> DataFrame:
    """Users in the same way: `row` has user and text attributes.

    The attributes are the file's other columns, or, in ml-100k and ml-1m, gender, age, occupation and region.

    Raises
    ------
    DataError
        An attribute has the name of the key.
    """
    own = table.format == CSV.users
    attributes = [name for name in table.columns if name != USER_ID] if own else list(_DEMOGRAPHICS)
    if schema.USER in {name.lower() for name in attributes}:
        raise DataError(f"{table.files[0]} has the columns {USER_ID} and {schema.USER}: rename the second")
    fields = pa.schema([(schema.USER, pa.int64()), *((name, pa.string()) for name in attributes)])
    row = user if own else demographic_user
    return _first_of_each_id(_parse(lines, table, row, fields), schema.USER, "duplicate user id", partitions)


def accepted(parsed: DataFrame) -> DataFrame:
    """The good rows."""
    from pyspark.sql import functions as F

    return parsed.where(F.col("reason").isNull()).select("row.*")


def rejected(parsed: DataFrame) -> DataFrame:
    """The other lines, as the table `rejected` has them."""
    from pyspark.sql import functions as F

    return parsed.where(F.col("reason").isNotNull()).select("source", "content", "reason")


def _parse(lines: DataFrame, table: RawTable, row: RowFunction, fields: pa.Schema) -> DataFrame:
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.types import StructType

    raw = lines.select("source", "block", "position", F.col("line").cast("binary").alias("line"))
    output = StructType([*raw.drop("line").schema.fields, *from_arrow_schema(made_schema(fields)).fields])
    run = partial(parse_batches, lines=Lines(table.format, table.columns), row=row, fields=fields)
    return raw.mapInArrow(run, output)


def _first_of_each_id(parsed: DataFrame, key: str, reason: str, partitions: int) -> DataFrame:
    """Mark every further good row of an id as rejected; the first is that in the order of the file."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    order = Window.partitionBy("key").orderBy("source", "block", "position")
    again = F.col("reason").isNull() & (F.col("copy") > 1)
    return (
        parsed.withColumn("key", F.col(f"row.{key}"))
        .repartition(partitions, "key")
        .withColumn("copy", F.row_number().over(order))
        .withColumn("reason", F.when(again, F.lit(reason)).otherwise(F.col("reason")))
        .drop("block", "position", "key", "copy")
    )

"""Data sets as MLflow shows them: name, source, digest, schema and rows, without reading the data; driver only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.spark_dataset_source import SparkDatasetSource
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema

from recsys_spark.redact import redact

Context = Literal["training", "validation", "test"]

_TYPES = {
    "tinyint": DataType.integer,
    "smallint": DataType.integer,
    "int": DataType.integer,
    "bigint": DataType.long,
    "float": DataType.float,
    "double": DataType.double,
    "string": DataType.string,
    "boolean": DataType.boolean,
    "timestamp": DataType.datetime,
    "date": DataType.datetime,
    "binary": DataType.binary,
}


@dataclass(frozen=True)
class DataSet:
    """One input of a run, as a step's manifest describes it.

    name : tells parts of one table apart, such as "ml-32m.test"
    path : the immutable Parquet table
    digest : fingerprint of the version (and of the part), at most 36 characters
    ddl : schema as Spark DDL
    rows : number of rows
    context : what the run used it for
    """

    name: str
    path: str
    digest: str
    ddl: str
    rows: int
    context: Context


class ProfiledDataset(MetaDataset):
    """MLflow's metadata-only data set, with the number of rows as its profile."""

    def __init__(self, data: DataSet) -> None:
        self._rows = data.rows
        source = SparkDatasetSource(path=redact(data.path))
        super().__init__(source=source, name=data.name, digest=data.digest, schema=schema_of_ddl(data.ddl))

    @property
    def profile(self) -> dict[str, int]:
        """What MLflow shows beside the schema."""
        return {"num_rows": self._rows}

    def to_dict(self) -> dict[str, str]:
        """The entries that MLflow stores."""
        return {**super().to_dict(), "profile": json.dumps(self.profile)}


def schema_of_ddl(ddl: str) -> Schema:
    """MLflow's schema of a flat Spark DDL; types that MLflow has no word for become `any`.

    >>> schema_of_ddl("user BIGINT NOT NULL, rating FLOAT, genres ARRAY<STRING>")
    ['user': long (required), 'rating': float (required), 'genres': Array(string) (required)]
    """
    columns = []
    for field in _fields(re.sub(r"\s+COMMENT\s+'(?:[^'\\]|\\.)*'", "", ddl, flags=re.IGNORECASE)):
        name, _, kind = field.rpartition("`") if field.startswith("`") else field.partition(" ")
        columns.append(ColSpec(_type(kind), name=name.strip("`")))
    return Schema(columns)


def _fields(ddl: str) -> list[str]:
    """The columns of a DDL: a comma inside brackets belongs to a type, one inside backquotes to a name."""
    parts, depth, quoted = [""], 0, False
    for letter in ddl:
        quoted ^= letter == "`"
        depth += 0 if quoted else (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _type(kind: str) -> DataType | Array | AnyType:
    kind = re.sub(r"\s+not\s+null$", "", kind.strip().lower())
    if inner := re.fullmatch(r"array<(.+)>", kind):
        return Array(_type(inner.group(1)))
    return _TYPES.get(kind, AnyType())

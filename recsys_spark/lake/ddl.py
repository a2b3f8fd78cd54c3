"""A recorded schema as Spark's type; driver."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pyspark.sql.types import StructType

_PLAIN = {
    "TINYINT": "byte",
    "SMALLINT": "short",
    "INT": "integer",
    "BIGINT": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "BOOLEAN": "boolean",
    "STRING": "string",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
}
"""What Spark's JSON calls types, by what its DDL does."""

_FIELD = re.compile(r"(\w+) (?:ARRAY<(\w+)>|(\w+))( NOT NULL)?")


def schema_of(ddl: str) -> StructType:
    """The type that Spark wrote as DDL.

    Spark's own parser takes half a second when a session first needs it, so columns of plain types and of arrays of
    them, which is what most tables have, do without it.
    """
    from pyspark.sql.types import DataType, StructType

    fields = []
    for part in ddl.split(","):
        found = _FIELD.fullmatch(part)
        kind = _PLAIN.get(found[2] or found[3]) if found else None
        if found is None or kind is None:
            return cast(StructType, DataType.fromDDL(ddl))
        array = {"type": "array", "elementType": kind, "containsNull": True}
        fields.append({"name": found[1], "type": array if found[2] else kind, "nullable": not found[4], "metadata": {}})
    return StructType.fromJson({"fields": fields})

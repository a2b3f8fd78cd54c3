"""From a table of items or users to its feature matrix: vocabularies and statistics learned, rows encoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.storagelevel import StorageLevel

from recsys_spark.features.columns import FeatureColumn
from recsys_spark.features.groups import GroupEncoder, encode_batches
from recsys_spark.features.sources import RawGroups, check_values, gather
from recsys_spark.features.statistics import moments
from recsys_spark.features.vocabulary import Vocabulary, learn_vocabularies
from recsys_spark.schema import INDICES, VALUES

if TYPE_CHECKING:
    from recsys_spark.config import GroupSpec

log = logging.getLogger(__name__)


def encode(df: DataFrame, key: str, groups: Sequence[GroupSpec]) -> tuple[DataFrame, list[FeatureColumn]]:
    """Encode one side's features: the rows of its matrix and what the columns are.

    Columns are numbered group after group in the order given and, within a group, by value (strings by code
    point, integers and bins by size): the result does not depend on partitioning. Kinds of a group:

    - ``one_hot``, ``multi_hot``: a column for each value that at least `min_count` rows have;
    - ``bins``: x falls into bin ⌊x / width⌋; a column for each bin that at least `min_count` rows have;
    - ``numeric``: a number, or an array of as many numbers in every row.

    Normalisation: ``row_l1`` divides a row's entries of the group by the sum of their absolute values;
    ``col_zscore`` takes (x − mean) / std per column, mean and population std over the rows that have a value
    (an empty array is one), which makes the group dense; a constant column becomes 0, with a warning.
    A null is a missing value and leaves the row without entries in the group.

    Parameters
    ----------
    df : one row per `key` (bigint or string), with the columns of those groups that name no table

    Returns
    -------
    rows : columns `key`, indices array<int> (ascending), values array<float> (no zeros); computed when used
    columns : by index

    Raises
    ------
    ConfigError
        Groups that cannot be made from the columns there are, or one with too many values.
    DataError
        Keys or numbers that cannot be used: see :mod:`recsys_spark.features.sources`.
    """
    raw, integral = gather(df, key, groups)
    raw = raw.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        encoders = learn(RawGroups(raw, integral), key, groups)
    finally:
        raw.unpersist()
    columns: list[FeatureColumn] = []
    for encoder in encoders:
        columns += encoder.columns(len(columns))
    schema = T.StructType(
        [
            T.StructField(key, df.schema[key].dataType),
            T.StructField(INDICES, T.ArrayType(T.IntegerType())),
            T.StructField(VALUES, T.ArrayType(T.FloatType())),
        ]
    )
    return raw.mapInArrow(partial(encode_batches, key=key, encoders=tuple(encoders)), schema), columns


def keep_groups(
    rows: DataFrame, columns: Sequence[FeatureColumn], groups: Sequence[str] | None
) -> tuple[DataFrame, list[FeatureColumn]]:
    """The columns of these groups alone, numbered anew, and the rows' entries in them; None: all, untouched.

    Parameters
    ----------
    rows, columns : as `encode` gives them
    """
    kept = [column for column in columns if groups is None or column.group in groups]
    if len(kept) == len(columns):
        return rows, list(columns)
    told = [F.lit(n) for at, column in enumerate(kept) for n in (column.index, at)]
    number = F.create_map(*told or [F.lit(-1), F.lit(-1)])
    pairs = F.filter(F.arrays_zip(INDICES, VALUES), lambda pair: number[pair[INDICES]].isNotNull())
    rest = [name for name in rows.columns if name not in (INDICES, VALUES)]
    chosen = rows.select(*rest, pairs.alias("pairs")).select(
        *rest,
        F.transform("pairs", lambda pair: number[pair[INDICES]]).alias(INDICES),
        F.transform("pairs", lambda pair: pair[VALUES]).alias(VALUES),
    )
    return chosen, [replace(column, index=at) for at, column in enumerate(kept)]


def learn(raw: RawGroups, key: str, groups: Sequence[GroupSpec]) -> list[GroupEncoder]:
    """Learn each group's vocabulary and statistics from the raw values; on the driver, in a few jobs.

    Raises
    ------
    ConfigError, DataError
        As :func:`encode`.
    """
    widths = check_values(raw.rows, key, groups)
    vocabularies = learn_vocabularies(raw, groups)
    encoders = [
        _number_encoder(group, widths[i]) if group.kind == "numeric" else _class_encoder(group, vocabularies[i])
        for i, group in enumerate(groups)
    ]
    standardised = [
        (i, encoder)
        for i, encoder in enumerate(encoders)
        if encoder.kind == "numeric" and encoder.normalise == "col_zscore"
    ]
    if standardised:
        found, start = moments(raw.rows, standardised), 0
        for i, encoder in standardised:
            at = slice(start, start + len(encoder.labels))
            mean, std = (tuple(part[at].tolist()) for part in found)
            encoders[i], start = replace(encoder, mean=mean, std=std), at.stop
    for encoder in encoders:
        _warn(encoder, key)
    return encoders


def _number_encoder(group: GroupSpec, width: int) -> GroupEncoder:
    labels = (group.name,) if width == 1 else tuple(f"{group.name}[{j}]" for j in range(width))
    return GroupEncoder(group.name, group.kind, group.normalise, labels)


def _class_encoder(group: GroupSpec, vocabulary: Vocabulary) -> GroupEncoder:
    """A group whose raw entries are ones: its moments follow from the counts, exactly."""
    encoder = GroupEncoder(
        group.name, group.kind, group.normalise, vocabulary.labels, vocabulary.values, width=group.width or 1.0
    )
    if group.normalise != "col_zscore":
        return encoder
    share = np.array(vocabulary.counts, np.float64) / max(vocabulary.rows, 1)
    return replace(encoder, mean=tuple(share.tolist()), std=tuple(np.sqrt(share * (1 - share)).tolist()))


def _warn(encoder: GroupEncoder, key: str) -> None:
    """Say which groups and columns carry no information."""
    if not encoder.labels:
        log.warning("%s feature group %s has no columns: no values, or min_count is too high", key, encoder.name)
    constant = [label for label, std in zip(encoder.labels, encoder.std or (), strict=False) if std == 0]
    if constant:
        log.warning(
            "%s feature group %s: %d of %d columns are constant and become 0: %s",
            key, encoder.name, len(constant), len(encoder.labels), ", ".join(constant[:10]),
        )  # fmt: skip

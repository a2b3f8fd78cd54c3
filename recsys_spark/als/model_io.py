"""A fitted model on a local disk: one JSON file and Parquet tables, nothing pickled.

    model.json               format version, μ, clip, settings, row counts: written last, so it vouches for the rest
    userFactors.parquet      id, factors list<float>, bias float, count double       (itemFactors likewise)
                             a file, or a directory of files where no process held them all (`als.spread`)
    userProjection.parquet   group, name, factors list<double>, bias double, mean, std double or null   (item likewise)
    history.parquet          one row per iteration

The tables are ordinary Parquet, readable with Spark, pandas or DuckDB. A model at a URI is copied to a local directory
first (`recsys_spark.als.model_uri`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from recsys_spark.als.model import HISTORY_SCHEMA, FitFacts, FittedModel, SideFacts, SideModel
from recsys_spark.als.settings import AlsSettings
from recsys_spark.errors import DataError
from recsys_spark.features.columns import FeatureColumn

FORMAT, FORMAT_VERSION = "recsys_spark.model", 1
MODEL_JSON = "model.json"
HISTORY = "history.parquet"
SIDES = ("user", "item")


def save_model(model: FittedModel, local_dir: str | Path) -> None:
    """Write a model into an absent or empty local directory (created with its parents).

    DataError where the directory holds anything, so that two models never mix.
    """
    target = Path(local_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and is not an empty directory; save the model elsewhere or remove it first")
    target.mkdir(parents=True, exist_ok=True)
    sides = (model.user, model.item)
    for name, side in zip(SIDES, sides, strict=True):
        _write(_factors_table(side), target / rows_file(name))
    write_rest(model, [(len(side), str(side.ids.type)) for side in sides], target)


def rows_file(side: str) -> str:
    """Where a side's rows are."""
    return f"{side}Factors.parquet"


def write_rest(model: Any, rows: Sequence[tuple[int, str]], target: Path) -> None:
    """All of a model but its rows; ``rows``: how many there are of users, items, and the type of their ids."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "mu": model.mu,
        "clip": list(model.clip),
        "rank": model.rank,
        "best_iteration": model.best_iteration,
        "stop_reason": model.stop_reason,
        "settings": model.settings.model_dump(mode="json"),
    }
    for name, side, (n, ids) in zip(SIDES, (model.user, model.item), rows, strict=True):
        _write(_projection_table(side), target / f"{name}Projection.parquet")
        facts[name] = {"rows": n, "features": len(side.columns), "ids": ids}
    _write(model.history.select(HISTORY_SCHEMA.names).cast(HISTORY_SCHEMA), target / HISTORY)
    (target / MODEL_JSON).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_model(local_dir: str | Path) -> FittedModel:
    """Read what `save_model` wrote; every array is a fresh, writable copy.

    DataError that names the file where one is absent, unreadable, of another format or version, or does not hold what
    model.json says.
    """
    source = Path(local_dir)
    rest = read_rest(source)
    with _damage_named(source):
        user, item = (
            _read_side(source, name, facts, columns, rest.rank)
            for name, facts, columns in zip(SIDES, rest.rows, rest.sides, strict=True)
        )
        return FittedModel(user=user, item=item, **vars(rest.facts))


class Rest(NamedTuple):
    """All of a saved model but its rows; users, items in order."""

    facts: FitFacts
    sides: tuple[SideFacts, SideFacts]
    rows: tuple[Mapping[str, Any], Mapping[str, Any]]  # rows: how many; ids: their type
    rank: int


def read_rest(source: Path) -> Rest:
    """What `write_rest` wrote; errors as `load_model`."""
    found = _read_facts(source)
    with _damage_named(source):
        rank = int(found["rank"])
        facts = FitFacts(
            mu=float(found["mu"]),
            clip=(float(found["clip"][0]), float(found["clip"][1])),
            settings=AlsSettings.model_validate(found["settings"]),
            history=_read(source / HISTORY, HISTORY_SCHEMA),
            best_iteration=int(found["best_iteration"]),
            stop_reason=str(found["stop_reason"]),
        )
        user, item = (_read_columns(source, name, found[name], rank) for name in SIDES)
        return Rest(facts, (user, item), (found["user"], found["item"]), rank)


@contextmanager
def _damage_named(source: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, ValidationError) as problem:
        raise DataError(
            f"{source / MODEL_JSON} is damaged or does not fit the tables beside it: {problem}"
        ) from problem


def _read_facts(source: Path) -> dict[str, Any]:
    path = source / MODEL_JSON
    if not source.is_dir():
        raise DataError(f"{source} is not a directory; a saved model is one that holds {MODEL_JSON}")
    if not path.is_file():
        raise DataError(f"{source} holds no {MODEL_JSON}: it is no saved model, or saving it was interrupted")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise DataError(f"{path} cannot be read as JSON: {problem}") from problem
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DataError(f"{path} does not describe a model of this package (format {FORMAT!r} expected)")
    if facts.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {facts.get('format_version')}, this release reads {FORMAT_VERSION};"
            " load it with the release that saved it, or train again"
        )
    return facts


def _factors_schema(ids: pa.DataType) -> pa.Schema:
    return pa.schema(
        [("id", ids), ("factors", pa.large_list(pa.float32())), ("bias", pa.float32()), ("count", pa.float64())]
    )


PROJECTION_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("name", pa.string()),
        ("factors", pa.large_list(pa.float64())),
        ("bias", pa.float64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
    ]
)


def _factors_table(side: SideModel) -> pa.Table:
    columns = [side.ids, _lists(side.factors), pa.array(side.biases), pa.array(side.counts)]
    return pa.Table.from_arrays(columns, schema=_factors_schema(side.ids.type))


def _projection_table(side: Any) -> pa.Table:
    facts = [
        pa.array([column.group for column in side.columns], pa.string()),
        pa.array([column.name for column in side.columns], pa.string()),
        _lists(side.projection),
        pa.array(side.projection_bias),
        pa.array([column.mean for column in side.columns], pa.float64()),
        pa.array([column.std for column in side.columns], pa.float64()),
    ]
    return pa.Table.from_arrays(facts, schema=PROJECTION_SCHEMA)


def _read_side(source: Path, name: str, facts: Mapping[str, Any], rest: SideFacts, rank: int) -> SideModel:
    kinds = {"int64": pa.int64(), "string": pa.string(), "large_string": pa.large_string()}
    if facts["ids"] not in kinds:
        raise ValueError(f"{name} ids have the unknown type {facts['ids']!r}")
    path, schema = source / rows_file(name), _factors_schema(kinds[facts["ids"]])
    if path.is_dir():
        parts = [_read(part, schema) for part in sorted(path.glob("*.parquet"))]
        rows = pa.concat_tables(parts or [schema.empty_table()]).sort_by("id")
    else:
        rows = _read(path, schema)
    _check_rows(rows, path, facts["rows"])
    side = SideModel(
        ids=_one_chunk(rows["id"]),
        factors=_matrix(rows["factors"], rank, np.float32, path),
        biases=rows["bias"].to_numpy().astype(np.float32),
        counts=rows["count"].to_numpy().astype(np.float64),
        **vars(rest),
    )
    _check_finite(path, side.factors, side.biases)
    return side


def _read_columns(source: Path, name: str, facts: Mapping[str, Any], rank: int) -> SideFacts:
    path = source / f"{name}Projection.parquet"
    columns = _read(path, PROJECTION_SCHEMA)
    _check_rows(columns, path, facts["features"])
    found = SideFacts(
        columns=tuple(
            FeatureColumn(index=index, group=row["group"], name=row["name"], mean=row["mean"], std=row["std"])
            for index, row in enumerate(columns.drop_columns(["factors", "bias"]).to_pylist())
        ),
        projection=_matrix(columns["factors"], rank, np.float64, path),
        projection_bias=columns["bias"].to_numpy().astype(np.float64),
    )
    _check_finite(path, found.projection, found.projection_bias)
    return found


def _check_rows(table: pa.Table, path: Path, expected: int) -> None:
    if table.num_rows != expected:
        raise DataError(f"{path} holds {table.num_rows} rows, {MODEL_JSON} says {expected}: the model is incomplete")


def _check_finite(path: Path, factors: NDArray[Any], biases: NDArray[Any]) -> None:
    for what, array in (("factors", factors), ("biases", biases)):
        if not np.isfinite(array).all():
            raise DataError(f"{path} holds {what} that are null or not finite numbers: the model is damaged")


def _write(table: pa.Table, path: Path) -> None:
    # Page checksums turn a flipped byte into an error at load, instead of a model that is silently another one.
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    if not path.is_file():
        raise DataError(f"{path} is absent: the saved model is incomplete; remove it, and train or save it again")
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem
    if table.schema.names != schema.names:
        raise DataError(f"{path} has the columns {table.schema.names}, a saved model {schema.names}")
    try:
        return table.cast(schema)
    except pa.ArrowException as problem:
        raise DataError(f"{path} has other column types than a saved model: {problem}") from problem


def _lists(matrix: NDArray[Any]) -> pa.LargeListArray:
    """A (rows, k) matrix as one list of k numbers a row."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))


def _matrix(column: pa.ChunkedArray, width: int, dtype: Any, path: Path) -> NDArray[Any]:
    """The inverse of `_lists`: C-contiguous (rows, width); DataError where a list is null or of another length."""
    lists = _one_chunk(column)
    flat = lists.flatten()
    lengths = np.asarray(lists.value_lengths().fill_null(-1))
    if (lengths != width).any():
        raise DataError(f"{path} holds factors that are not {width} wide: the model is damaged")
    return flat.to_numpy(zero_copy_only=False).astype(dtype).reshape(len(lists), width)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined

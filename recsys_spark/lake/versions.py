"""Publishing a step's result as an immutable version, and finding the current one; driver only."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_spark import __version__
from recsys_spark.errors import DataError, NotPublishedError
from recsys_spark.lake import fs
from recsys_spark.lake.manifest import MANIFEST, POINTER, Manifest, Published, TableInfo, fingerprint

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_DRAFT_PREFIX = "._tmp-"
_STALE_DRAFT_MS = 7 * 24 * 3600 * 1000  # a fit may well take more than a day
_CHUNK = 1 << 22


class Draft:
    """A version being written: what a step's `write` function fills. Nobody reads it before it is published."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        self.path = path
        self.tables: dict[str, TableInfo] = {}
        self._spark = spark

    def write_table(self, df: DataFrame, name: str, partition_by: Sequence[str] = ()) -> TableInfo:
        """Write a table as Parquet; its rows are counted in the footers of what was written, not from `df` again."""
        if name in self.tables:
            raise DataError(f"table {name!r} is written twice in {self.path}")
        target, schema = f"{self.path}/{name}", df.schema
        writer = df.write.partitionBy(*partition_by) if partition_by else df.write
        writer.parquet(target)
        rows = self._spark.read.schema(schema).parquet(target).count()
        ddl, files = str(cast(Any, df)._jdf.schema().toDDL()), fs.count_files(self._spark, target)
        self.tables[name] = TableInfo(rows=rows, schema=ddl, files=files)
        return self.tables[name]

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 file beside the tables."""
        fs.write_text(self._spark, f"{self.path}/{name}", text)


def publish(
    spark: SparkSession,
    root: str,
    *,
    step: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    write: Callable[[Draft], dict[str, Any] | None],
    keep: int = 2,
) -> Published:
    """Publish a step's result, or find that the same one is there already.

    The version's name is the fingerprint of step, settings, inputs and package version, so the same call twice does the
    work once. `write` fills a draft; whatever it raises, the root is left as it was. The first version of a root comes
    with its pointer in one rename, a later one is a directory of its own and then one swap of the pointer.

    Parameters
    ----------
    root : path or URI of the step
    settings : JSON-able; everything that decides the result beside the inputs
    inputs : fingerprint or version of each input, by name
    write : fills the draft; what it returns is kept as the manifest's `extra`
    keep : how many of the newest other versions outlive this call

    Returns
    -------
    Published
        With `reused` true where the version was whole already (it is the current one again).
    """
    root = root.rstrip("/")
    version = fingerprint(step, settings, inputs, __version__)
    target = f"{root}/{version}"
    found = _load(spark, target)
    if found is None:
        fs.delete(spark, target)  # what an interrupted publisher left: without a manifest it never was a version
        manifest = _write_version(spark, root, version, step, settings, inputs, write)
    else:
        manifest = found
    if _pointer(spark, root) != version:
        fs.write_text(spark, f"{root}/{POINTER}", version + "\n")
    _expire(spark, root, version, keep)
    return Published(path=target, manifest=manifest, reused=found is not None)


def current(spark: SparkSession, root: str, step: str | None = None) -> Published:
    """Find the current version under a root.

    Raises
    ------
    NotPublishedError
        Nothing was ever published there, or the version that the pointer names is not whole.
    DataError
        Another step than `step` published it.
    """
    root = root.rstrip("/")
    job = f"; run jobs/{step}.py first" if step else "; run the job that makes it first"
    version = _pointer(spark, root)
    if version is None:
        raise NotPublishedError(f"nothing is published at {root}{job}")
    manifest = _load(spark, f"{root}/{version}")
    if manifest is None:
        raise NotPublishedError(f"the current version {version} at {root} is missing or not whole{job}")
    if step is not None and manifest.step != step:
        raise DataError(f"{root} holds the output of step {manifest.step!r}, expected that of {step!r}")
    return Published(path=f"{root}/{version}", manifest=manifest, reused=True)


def read_table(spark: SparkSession, root: str, name: str) -> DataFrame:
    """Read a table of the current version under a root, or of a version directory, with its recorded schema.

    Raises
    ------
    NotPublishedError
        There is no version, or it has no table of this name, or not all of its files.
    """
    return _scan(spark, *_find_table(spark, root, name))


def _scan(spark: SparkSession, path: str, info: TableInfo) -> DataFrame:
    from recsys_spark.lake.ddl import schema_of

    schema = schema_of(info.schema)
    df = spark.read.schema(schema).parquet(path)
    quoted = ["`" + column.replace("`", "``") + "`" for column in schema.fieldNames()]
    return df.select(*quoted)  # Spark has moved partition columns to the end


def collect_table(spark: SparkSession, root: str, name: str) -> pa.Table:
    """A table without partition columns, whole, in this process; raises as `read_table`.

    Local files are read without Spark, which plans for seconds in a new session.

    Raises
    ------
    DataError
        A local file is damaged.
    """
    path, info = _find_table(spark, root, name)
    local = fs.locate(spark, path).local
    if local is None:
        return _scan(spark, path, info).toArrow()
    try:
        return pq.read_table(local, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"table {name!r} of {path} cannot be read ({error}): delete the version and run its step again"
        ) from None


def _find_table(spark: SparkSession, root: str, name: str) -> tuple[str, TableInfo]:
    root = root.rstrip("/")
    manifest = _load(spark, root)
    found = Published(path=root, manifest=manifest) if manifest else current(spark, root)
    info = found.manifest.tables.get(name)
    if info is None:
        raise NotPublishedError(f"no table {name!r} in {found.path}; it has {', '.join(sorted(found.manifest.tables))}")
    check_files(spark, found, name)
    return found.table(name), info


def check_files(spark: SparkSession, published: Published, name: str) -> None:
    """Raise NotPublishedError unless a table has as many files as were written: some may have been deleted since."""
    wanted, files = published.manifest.tables[name].files, fs.count_files(spark, published.table(name))
    if files != wanted and (wanted is not None or not files):
        raise NotPublishedError(
            f"{published.table(name)} has {files} of {'its' if wanted is None else wanted} files: someone deleted or "
            f"added some; delete {published.path} and run the job that makes it (step {published.manifest.step}) again"
        )


def fingerprint_files(spark: SparkSession, paths: Iterable[str]) -> str:
    """Fingerprint of input files or directories: of the content where they are local, else of name, length and time.

    Raises
    ------
    DataError
        One of them does not exist.
    """
    parts: list[Any] = []
    for path in paths:
        at = fs.locate(spark, path)
        if not at.fs.exists(at.path):
            raise DataError(f"no input at {path}")
        if at.local is not None:
            parts.extend(_local_digests(at.local))
        else:
            parts.extend(_listing(at))
    return fingerprint(*sorted(parts))


def _write_version(
    spark: SparkSession,
    root: str,
    version: str,
    step: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    write: Callable[[Draft], dict[str, Any] | None],
) -> Manifest:
    first = not fs.exists(spark, root)
    scratch = f"{_parent(root) if first else root}/{_DRAFT_PREFIX}{uuid.uuid4().hex}"
    draft = Draft(spark, f"{scratch}/{version}" if first else scratch)
    try:
        extra = write(draft) or {}
        manifest = Manifest(
            step=step,
            version=version,
            created=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
            tables=draft.tables,
            settings=settings,
            inputs=inputs,
            fingerprint=version,
            extra=extra,
            package_version=__version__,
        )
        draft.write_text(MANIFEST, manifest.to_json())
        if first:
            fs.write_text(spark, f"{scratch}/{POINTER}", version + "\n")
        if not (first and fs.commit_dir(spark, scratch, root, last=POINTER)):
            fs.commit_dir(spark, draft.path, f"{root}/{version}", last=MANIFEST)
    finally:
        fs.delete(spark, scratch)  # gone after a commit; here after a failure, or when another was faster
    whole = _load(spark, f"{root}/{version}")
    if whole is None:
        raise DataError(f"{root}/{version} was written and is not whole: is another job writing there? Run it again")
    return whole


def _load(spark: SparkSession, directory: str) -> Manifest | None:
    """The manifest of a version, or None where the version is not whole."""
    try:
        return Manifest.from_json(fs.read_text(spark, f"{directory}/{MANIFEST}"))
    except (NotPublishedError, ValueError):
        return None


def _pointer(spark: SparkSession, root: str) -> str | None:
    return fs.read_pointer(spark, f"{root}/{POINTER}")


def _expire(spark: SparkSession, root: str, version: str, keep: int) -> None:
    """Remove old versions, and what publishers left that died a week or longer ago."""
    _sweep(spark, root)
    _sweep(spark, _parent(root))
    others = []
    for name, is_dir, _, _ in fs.list_dir(spark, root):
        path = f"{root}/{name}"
        if is_dir and name != version and not name.startswith(_DRAFT_PREFIX) and (manifest := _load(spark, path)):
            others.append((manifest.created, path))
    for _, path in sorted(others, reverse=True)[keep:]:
        fs.delete(spark, path)


def _sweep(spark: SparkSession, folder: str) -> None:
    for name, _, _, modified in fs.list_dir(spark, folder):
        left = name.startswith((_DRAFT_PREFIX, f".{POINTER}."))
        if left and modified < time.time() * 1000 - _STALE_DRAFT_MS:
            fs.delete(spark, f"{folder}/{name}")


def _parent(root: str) -> str:
    return root.rpartition("/")[0] or "."


def _local_digests(path: Path) -> list[list[Any]]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return [[str(file.relative_to(path.parent).as_posix()), _digest(file)] for file in files]


def _digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _listing(at: fs.Location) -> list[list[Any]]:
    found, files = [], at.fs.listFiles(at.path, True)
    base = str(at.fs.makeQualified(at.path).getParent().toString())
    while files.hasNext():
        status = files.next()
        name = str(status.getPath().toString()).removeprefix(base)
        found.append([name, int(status.getLen()), int(status.getModificationTime())])
    return found

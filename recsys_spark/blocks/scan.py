"""Tables that are nothing but Parquet files, recognised so that tasks can read them themselves; driver.

Spark turns Parquet's columns into rows and rows into Arrow's columns again, which takes longer than all the rest that
is done with them. Where a DataFrame is a plain scan, tasks read row groups with pyarrow instead. What is not known to
give the same rows is left to Spark: filters, joins, partition columns, other formats and those derived from Parquet,
tables of a catalogue, options, remote files. Tasks look at the files too (`blocks.rowgroups`), and may refuse them yet.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError

from recsys_spark.blocks.rowgroups import Column, Span, UnreadableError, check, read_spans

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

_RELATION = "org.apache.spark.sql.execution.datasources.LogicalRelation"
_CLASSES = {
    "relation": "org.apache.spark.sql.execution.datasources.HadoopFsRelation",
    "fileFormat": "org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat",
    "location": "org.apache.spark.sql.execution.datasources.InMemoryFileIndex",
}
_EXPRESSIONS = "org.apache.spark.sql.catalyst.expressions."
_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_FLOATS = ("float", "double")
_SWITCHES = (
    "spark.sql.files.ignoreCorruptFiles",
    "spark.sql.files.ignoreMissingFiles",
    "spark.sql.parquet.fieldId.read.enabled",
)
_MAX_FILES = 10_000  # whose footers the driver reads
MAX_SPAN = 1 << 24  # rows of a task


class _Unknown(Exception):
    """What is not known to be a plain scan, and why."""


class Scan(NamedTuple):
    """What a DataFrame is a plain scan of."""

    columns: list[Column]
    files: list[str]  # local paths


class ScanTasks(NamedTuple):
    """Which tasks are to read which rows of which files."""

    columns: list[Column]
    tasks: list[list[Span]]

    @property
    def rows(self) -> int:
        """How many rows all of them are."""
        return sum(span.stop - span.start for spans in self.tasks for span in spans)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, read here. Raises as `rowgroups.read_spans`."""
        return read_spans(itertools.chain.from_iterable(self.tasks), self.columns)

    def spread(self, sc: SparkContext) -> RDD[list[Span]]:
        """One element a task."""
        return sc.parallelize(self.tasks, len(self.tasks))


def scan_tasks(table: DataFrame, tasks: int, least: int) -> ScanTasks | None:
    """How tasks are to read a table that is a plain scan; None where it is for Spark to read. Parameters as `spans`."""
    scan = plain_scan(table)
    found = spans(scan, tasks, least) if scan else None
    return ScanTasks(scan.columns, found) if scan and found else None


def plain_scan(table: DataFrame) -> Scan | None:
    """What a table of ratings or features is a plain scan of; None where it is not, or is not known to be."""
    on = [key for key in _SWITCHES if str(table.sparkSession.conf.get(key)).lower() != "false"]
    if on:
        log.debug("read through Spark: %s is on", " and ".join(on))
        return None
    # A session's first optimisation takes its time, and most tables need none to be recognised.
    for plan in ("withCachedData", "optimizedPlan"):
        try:
            return _scan_of(getattr(table._jdf.queryExecution(), plan)())
        except (_Unknown, Py4JError) as reason:  # another release of Spark may name things otherwise
            log.debug("read through Spark: %s", reason)
    return None


def _scan_of(plan: Any) -> Scan:
    projects = []  # the outermost first
    while _is(plan, "org.apache.spark.sql.catalyst.plans.logical.Project"):
        projects.append(_seq(plan.projectList()))
        plan = plan.child()
    files, read = _files(plan), _seq(plan.output())
    inner = itertools.chain.from_iterable(projects[1:])
    named = {e.exprId().id(): e.child() for e in inner if _is(e, _EXPRESSIONS + "Alias")}
    known = {a.exprId().id(): a for a in read}
    return Scan([_column(output, known, named) for output in (projects[0] if projects else read)], files)


def local_paths(uris: Sequence[str]) -> list[str] | None:
    """Paths of files that Spark gives as URIs, percent signs decoded; None where any is remote.

    >>> local_paths(["file:///a%20b/c"]), local_paths(["file:///a", "hdfs://host/b"])
    (['/a b/c'], None)
    """
    parsed = [urlsplit(uri) for uri in uris]
    if any(p.scheme != "file" or p.netloc or p.query or p.fragment for p in parsed):
        return None
    return [unquote(p.path) for p in parsed]


def spans(scan: Scan, tasks: int, least: int) -> list[list[Span]] | None:
    """Row groups, or parts of them, by task: contiguous and about equal; None where a file is not as it should be.

    Parameters
    ----------
    tasks : how many there should be; more where one would get more than `MAX_SPAN` rows
    least : rows that are worth a task
    """
    groups = []
    try:
        for path in scan.files:
            footer = pq.read_metadata(path)
            check(path, footer.schema.to_arrow_schema(), scan.columns)
            groups += [(path, g, footer.row_group(g).num_rows) for g in range(footer.num_row_groups)]
    except (OSError, pa.ArrowException, UnreadableError) as reason:
        log.debug("read through Spark: %s", reason)
        return None
    edges = np.cumsum([0, *(rows for *_, rows in groups)])
    total = int(edges[-1])
    tasks = max(1, min(tasks, total // least), -(-total // MAX_SPAN))
    cuts = np.array([total * t // tasks for t in range(tasks + 1)])
    nearest = edges[np.abs(edges[:, None] - cuts).argmin(axis=0)]
    # Rows before a cut within a group are decoded for nothing: cut between groups where that is about as even.
    cuts = np.where(8 * np.abs(nearest - cuts) <= total // tasks, nearest, cuts)
    found = []
    for first, last in itertools.pairwise(cuts):
        mine = [
            Span(path, g, max(int(first - edge), 0), min(int(last - edge), rows))
            for (path, g, rows), edge in zip(groups, edges[:-1], strict=True)
            if edge < last and edge + rows > first
        ]
        found.append(mine)
    return found


def _files(plan: Any) -> list[str]:
    """Local paths of the relation's files."""
    if not _is(plan, _RELATION):
        raise _Unknown(f"{plan.nodeName()} in the plan")
    relation = plan.relation()
    parts = {"relation": relation, "fileFormat": relation.fileFormat(), "location": relation.location()}
    for name, part in parts.items():
        if not _is(part, _CLASSES[name]):
            raise _Unknown(f"its {name} is {part.getClass().getName()}")
    if plan.isStreaming() or plan.catalogTable().isDefined() or relation.bucketSpec().isDefined():
        raise _Unknown("a stream, a table of a catalogue, or buckets")
    if relation.partitionSchema().size() or any(key.lower() != "path" for key in _keys(relation.options())):
        raise _Unknown("partition columns or options")
    files = local_paths(list(relation.location().inputFiles()))
    if files is None or len(files) > _MAX_FILES:
        raise _Unknown("remote files, or too many")
    return files


def _column(output: Any, known: dict[int, Any], named: dict[int, Any]) -> Column:
    """What to read for an output, and the casts that follow; ``named`` are expressions by what outputs refer to."""
    name, fill, (output, casts) = output.name(), False, _behind(output, named)
    if _is(output, _EXPRESSIONS + "Coalesce") and name == "held_out":
        values = _seq(output.children())
        if len(values) != 2 or not _is(values[1], _EXPRESSIONS + "Literal") or values[1].value() is not False:
            raise _Unknown(f"an expression for {name}")
        fill, (output, inner) = True, _behind(values[0], named)
        casts += inner
    if not _is(output, _EXPRESSIONS + "AttributeReference") or output.exprId().id() not in known:
        raise _Unknown(f"an expression for {name}")
    kind = output.dataType().catalogString()
    kinds = [k for k, _ in itertools.groupby([kind, *reversed(casts)])]
    numbers = kind in _INTEGERS + _FLOATS and all(cast in _FLOATS for cast in casts)
    widened = all(k in _INTEGERS for k in kinds) and kinds == sorted(kinds, key=_INTEGERS.index)
    allowed = {
        ("user", "item", "id"): widened or kinds == ["string"],
        ("rating", "weight"): numbers,
        ("held_out",): kinds == ["boolean"],
        ("indices",): kinds == ["array<int>"],
        ("values",): kinds == ["array<float>"],
    }
    if not any(fits and name in names for names, fits in allowed.items()):
        raise _Unknown(f"{name} is {' cast to '.join(kinds)}")
    return Column(name, known[output.exprId().id()].name(), kind, tuple(kinds[1:]), fill)


def _behind(output: Any, named: dict[int, Any]) -> tuple[Any, list[str]]:
    """What an expression is but for names and casts, and the types that it is cast to, the last one first."""
    casts: list[str] = []
    while True:
        if _is(output, _EXPRESSIONS + "Alias"):
            output = output.child()
        elif _is(output, _EXPRESSIONS + "Cast"):
            casts.append(output.dataType().catalogString())
            output = output.child()
        elif _is(output, _EXPRESSIONS + "AttributeReference") and output.exprId().id() in named:
            output = named[output.exprId().id()]
        else:
            return output, casts


def _is(thing: Any, name: str) -> bool:
    return bool(thing.getClass().getName() == name)


def _seq(items: Any) -> list[Any]:
    return [items.apply(i) for i in range(items.size())]


def _keys(options: Any) -> list[str]:
    found, keys = [], options.keysIterator()
    while keys.hasNext():
        found.append(keys.next())
    return found

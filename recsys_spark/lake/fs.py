"""Small file operations on paths and URIs, through Hadoop's FileSystem; driver only.

Hadoop's own local file system replaces a file by delete-and-rename and keeps checksum side files that can fall out of
step with it; where a path is local, the operating system's atomic calls are used instead.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recsys_spark.errors import DataError, NotPublishedError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SHOWN = 120
OBJECT_STORES = frozenset({"s3", "s3a", "s3n", "gs", "oss", "cosn"})
"""Schemes whose rename copies object by object, and whose single put is atomic."""


@dataclass(frozen=True)
class Location:
    """A path with the file system it lies on (`fs`, `path`: JVM objects)."""

    jvm: Any
    fs: Any
    path: Any

    @property
    def scheme(self) -> str:
        """Scheme of the file system, such as ``file`` or ``s3a``."""
        return str(self.fs.getUri().getScheme())

    @property
    def local(self) -> Path | None:
        """The path on this machine, or None on any other file system."""
        return Path(self.fs.makeQualified(self.path).toUri().getPath()) if self.scheme == "file" else None

    def sibling(self, name: str) -> Location:
        """Another name in the same directory."""
        return Location(self.jvm, self.fs, self.jvm.org.apache.hadoop.fs.Path(self.path.getParent(), name))


def locate(spark: SparkSession, uri: str) -> Location:
    """Find the file system of a path or URI, with the session's Hadoop configuration."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(str(uri))
    return Location(jvm, path.getFileSystem(_hadoop_conf(spark)), path)


def local_path(spark: SparkSession, uri: str) -> Path | None:
    """The path on the driver's disk, or None where `uri` lies on any other file system."""
    return locate(spark, uri).local


def check_place(spark: SparkSession, uri: str) -> None:
    """Raise DataError where no directory can be made at a path or URI: said before the work, and in a sentence."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        at = locate(spark, uri)
        above = at.fs.makeQualified(at.path)  # a relative path has no parents
        while above is not None and not at.fs.exists(above):
            above = above.getParent()
        is_file = above is not None and not at.fs.getFileStatus(above).isDirectory()
    except (Py4JJavaError, PySparkException) as problem:
        told = getattr(problem, "java_exception", None)
        reason = str(told.toString() if told is not None else problem).splitlines()[0]
        raise DataError(
            f"cannot use the place {uri} ({reason}); choose another, or add what Spark needs for it"
        ) from None
    if is_file:
        raise DataError(f"nothing can be written to {uri}: {above.toString()} is a file")
    if at.local is not None and above is not None and not os.access(above.toUri().getPath(), os.W_OK):
        raise DataError(f"nothing can be written to {uri}: {above.toString()} is not yours to write")


def exists(spark: SparkSession, uri: str) -> bool:
    """Whether there is a file or directory."""
    at = locate(spark, uri)
    return bool(at.fs.exists(at.path))


def list_dir(spark: SparkSession, uri: str) -> list[tuple[str, bool, int, int]]:
    """Sorted entries of a directory: (name, is a directory, bytes, modified in ms since 1970); none if missing."""
    at = locate(spark, uri)
    if not at.fs.exists(at.path):
        return []
    return sorted(
        (str(s.getPath().getName()), bool(s.isDirectory()), int(s.getLen()), int(s.getModificationTime()))
        for s in at.fs.listStatus(at.path)
    )


def count_files(spark: SparkSession, uri: str) -> int:
    """How many files a directory holds, those in its directories too, hidden ones apart, as in Spark; 0 if missing."""
    at = locate(spark, uri)
    if at.local is not None:
        names = [path.name for path in at.local.rglob("*") if path.is_file()]
    elif at.fs.exists(at.path):
        found, names = at.fs.listFiles(at.path, True), []
        while found.hasNext():
            names.append(str(found.next().getPath().getName()))
    else:
        names = []
    return sum(not name.startswith(("_", ".")) for name in names)


def read_text(spark: SparkSession, uri: str) -> str:
    """Content of a UTF-8 file.

    Raises
    ------
    NotPublishedError
        There is no such file.
    """
    at = locate(spark, uri)
    if not at.fs.exists(at.path):
        raise NotPublishedError(f"no file at {uri}")
    stream = at.fs.open(at.path)
    try:
        return str(at.jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
    finally:
        stream.close()


def read_pointer(spark: SparkSession, uri: str) -> str | None:
    """The name in a pointer file: of a directory beside it, and nothing else. None where there is no file, or no name.

    Raises
    ------
    DataError
        A path: it might lead anywhere.
    """
    try:
        name = read_text(spark, uri).strip()
    except NotPublishedError:
        return None
    if name in (".", "..") or not name.isprintable() or set(name) & set("/\\:"):
        shown = repr(name[:_SHOWN])
        raise DataError(f"{uri} must hold the name of a directory beside it, found {shown}: was it tampered with?")
    return name or None


def write_text(spark: SparkSession, uri: str, text: str) -> None:
    """Write or replace a UTF-8 file so that readers see the old content or the new, never a mixture or nothing."""
    at = locate(spark, uri)
    temporary = f".{at.path.getName()}.{uuid.uuid4().hex}"
    if at.local is not None:
        at.local.parent.mkdir(parents=True, exist_ok=True)
        _write_local(at.local.with_name(temporary), at.local, text)
    elif at.scheme in OBJECT_STORES:
        _put(at, text)
    else:
        draft = at.sibling(temporary)
        _put(draft, text)
        _rename(spark, draft, at, overwrite=True)


def delete(spark: SparkSession, uri: str) -> bool:
    """Remove a file or a directory with all it holds; False if there was none."""
    at = locate(spark, uri)
    return bool(at.fs.delete(at.path, True))


def commit_dir(spark: SparkSession, source: str, target: str, last: str) -> bool:
    """Rename a directory to a name that is free; False, and nothing moved, if the name is taken.

    One atomic rename, except on object stores: there the file `last` moves after all others, so that who waits for
    `last` never sees half a directory.

    Raises
    ------
    DataError
        `source` does not exist.
    """
    src, dst = locate(spark, source), locate(spark, target)
    if not src.fs.exists(src.path):
        raise DataError(f"nothing to commit at {source}")
    if src.local is not None and dst.local is not None:
        try:
            src.local.rename(dst.local)
        except OSError:
            if dst.local.exists():
                return False
            raise
        return True
    if dst.fs.exists(dst.path):
        return False
    if src.scheme in OBJECT_STORES:
        dst.fs.mkdirs(dst.path)
        for name in sorted((entry[0] for entry in list_dir(spark, source)), key=lambda name: name == last):
            _rename(spark, locate(spark, f"{source}/{name}"), locate(spark, f"{target}/{name}"), overwrite=False)
        src.fs.delete(src.path, True)
    else:
        _rename(spark, src, dst, overwrite=False)
    return True


def copy_from_local(spark: SparkSession, local_dir: str | os.PathLike[str], uri: str) -> None:
    """Copy a file or directory of the driver's disk to `uri`, which must not exist yet.

    Raises
    ------
    DataError
        `local_dir` does not exist, or `uri` does.
    """
    source, at = Path(local_dir), locate(spark, uri)
    if not source.exists():
        raise DataError(f"nothing to copy at {source}")
    if at.fs.exists(at.path):
        raise DataError(f"cannot copy {source} to {uri}: it exists; delete it first or choose another place")
    if at.local is not None:
        _copy_local(source, at.local)
    else:
        at.fs.copyFromLocalFile(False, False, at.jvm.org.apache.hadoop.fs.Path(source.resolve().as_posix()), at.path)


def copy_to_local(spark: SparkSession, uri: str, local_dir: str | os.PathLike[str]) -> None:
    """Copy a file or directory to a place on the driver's disk that must not exist yet.

    Raises
    ------
    DataError
        `uri` does not exist, or `local_dir` does.
    """
    target, at = Path(local_dir), locate(spark, uri)
    if not at.fs.exists(at.path):
        raise DataError(f"nothing to copy at {uri}")
    if target.exists():
        raise DataError(f"cannot copy {uri} to {target}: it exists; delete it first or choose another place")
    if at.local is not None:
        _copy_local(at.local, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        at.fs.copyToLocalFile(False, at.path, at.jvm.org.apache.hadoop.fs.Path(target.absolute().as_posix()), True)


def _hadoop_conf(spark: SparkSession) -> Any:
    return cast(Any, spark)._jsparkSession.sessionState().newHadoopConf()


def _write_local(temporary: Path, target: Path, text: str) -> None:
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    # A checksum that Hadoop left for an earlier content would make its readers refuse the new one.
    target.with_name(f".{target.name}.crc").unlink(missing_ok=True)


def _put(at: Location, text: str) -> None:
    stream = at.fs.create(at.path, True)
    try:
        stream.write(bytearray(text, "utf-8"))
    finally:
        stream.close()


def _rename(spark: SparkSession, source: Location, target: Location, *, overwrite: bool) -> None:
    """FileContext's rename: unlike FileSystem's it fails instead of moving into an existing directory."""
    hadoop, gateway = source.jvm.org.apache.hadoop.fs, cast(Any, spark.sparkContext._gateway)
    options = getattr(hadoop, "Options$Rename")
    flags = gateway.new_array(options, 1)
    flags[0] = options.OVERWRITE if overwrite else options.NONE
    files = hadoop.FileContext.getFileContext(source.fs.getUri(), _hadoop_conf(spark))
    files.rename(source.path, target.path, flags)


def _copy_local(source: Path, target: Path) -> None:
    linked = [path for path in source.rglob("*") if path.is_symlink() and path.is_dir()]
    if linked:  # the copy would hold all that lies behind it, or never end
        raise DataError(f"{linked[0]} is a link to a directory and is not copied; put the directory itself there")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    except OSError as problem:
        raise DataError(f"cannot copy {source} to {target}: {problem}") from problem

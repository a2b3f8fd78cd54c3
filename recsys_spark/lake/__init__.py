"""The lake: where steps publish what they made and find what others made.

A step's root holds immutable version directories and one pointer file::

    <root>/_CURRENT                        the name of the current version, swapped atomically
    <root>/<version>/_manifest.json        written last: a version without it does not exist
    <root>/<version>/<table>/*.parquet
    <root>/._tmp-<uuid>/                   a draft, invisible to readers; that of a first version lies beside the root

Everything is a path or URI that Hadoop can open (``file:``, ``hdfs:``, ``s3a:`` …). As everywhere in Spark, a plain
path belongs to the default file system, and ``%20`` in a URI is three characters, not a space. All of it runs on the
driver.
"""

from recsys_spark.lake.fs import (
    check_place,
    commit_dir,
    copy_from_local,
    copy_to_local,
    delete,
    exists,
    list_dir,
    local_path,
    read_pointer,
    read_text,
    write_text,
)
from recsys_spark.lake.manifest import Manifest, Published, TableInfo, fingerprint
from recsys_spark.lake.versions import (
    Draft,
    check_files,
    collect_table,
    current,
    fingerprint_files,
    publish,
    read_table,
)

__all__ = [
    "Draft",
    "Manifest",
    "Published",
    "TableInfo",
    "check_files",
    "check_place",
    "collect_table",
    "commit_dir",
    "copy_from_local",
    "copy_to_local",
    "current",
    "delete",
    "exists",
    "fingerprint",
    "fingerprint_files",
    "list_dir",
    "local_path",
    "publish",
    "read_pointer",
    "read_table",
    "read_text",
    "write_text",
]

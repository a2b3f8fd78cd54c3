"""What ``--dataset`` means: a preset, a folder, a zip or a release's name, made into a folder that Spark can read."""

from __future__ import annotations

import argparse
import difflib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsys_spark import lake
from recsys_spark.config import Settings, dataset_slug, step_root
from recsys_spark.errors import DataError
from recsys_spark.generate import job as generate
from recsys_spark.generate.preset import PRESETS
from recsys_spark.ingest.archive import unpack
from recsys_spark.ingest.download import fetch
from recsys_spark.ingest.releases import BASE_URL, RELEASES
from recsys_spark.lake.fs import locate
from recsys_spark.redact import redact

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A release, found.

    Attributes
    ----------
    name : of the release, for people
    folder : path or URI of its tables
    origin : where it came from, without secrets: generated, a path, or a download with what is known of its md5
    cite : whether it is MovieLens data, whose terms ask for a citation
    """

    name: str
    folder: str
    origin: str
    cite: bool = True


def resolve(spark: SparkSession, settings: Settings, base_url: str = BASE_URL) -> Source:
    """Find the data set, and bring it to where Spark can read it: generated, downloaded, unpacked; driver.

    A zip is unpacked into ``{workdir}/{data set}/raw``, published as a step is, so the second time nothing is done.
    The names of presets and releases go before folders of the same name (give these as ``./ml-1m``).

    Raises
    ------
    DataError
        There is no such data set, or it cannot be downloaded or unpacked.
    """
    dataset = settings.dataset
    if dataset in PRESETS:
        return _generated(spark, settings)
    if dataset in RELEASES:
        download = fetch(
            RELEASES[dataset], Path(settings.ingest.cache), _bytes(settings.ingest.max_download_gb), base_url
        )
        checked = f"md5 {download.verified}" if download.verified else "not verified"
        return _unpacked(
            spark, settings, str(download.path.resolve()), f"{base_url}/{RELEASES[dataset].file} ({checked})"
        )
    if not lake.exists(spark, dataset):
        raise DataError(_unknown(dataset))
    if dataset.lower().endswith(".zip"):
        return _unpacked(spark, settings, dataset, dataset)
    return Source(dataset_slug(dataset), dataset.rstrip("/"), redact(dataset))


def _generated(spark: SparkSession, settings: Settings) -> Source:
    inside = settings.generate.model_copy(update={"out": None})  # `out` is for a copy elsewhere
    made = generate.run(spark, settings.model_copy(update={"generate": inside}), argparse.Namespace())
    return Source(settings.dataset, made.outputs["path"], f"generated, seed {inside.seed}", cite=False)


def _unpacked(spark: SparkSession, settings: Settings, archive: str, origin: str) -> Source:
    limit = _bytes(settings.ingest.max_unpacked_gb)
    published = lake.publish(
        spark,
        step_root(settings, "raw"),
        step="unpack",
        settings={},
        inputs={"zip": lake.fingerprint_files(spark, [archive])},
        write=lambda draft: {"tables": _unpack_into(spark, archive, draft.path, limit)},
        keep=0,  # the zip is still there
    )
    return Source(dataset_slug(settings.dataset), published.path, redact(origin))


def _unpack_into(spark: SparkSession, archive: str, target: str, limit: int) -> list[str]:
    """Unpack on the driver, straight into the lake where that is on this machine."""
    here = locate(spark, target).local
    local = locate(spark, archive).local
    if here is not None and local is not None:
        return unpack(local, here, limit)
    with tempfile.TemporaryDirectory(prefix="recsys_spark-") as scratch:
        if local is None:
            local = Path(scratch) / "release.zip"
            lake.copy_to_local(spark, archive, local)
        names = unpack(local, Path(scratch) / "tables", limit)
        lake.copy_from_local(spark, Path(scratch) / "tables", target)
    return names


def _bytes(gigabytes: float) -> int:
    return int(gigabytes * 1e9)


def _unknown(dataset: str) -> str:
    near = difflib.get_close_matches(dataset, [*PRESETS, *RELEASES], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (
        f"no data set {dataset!r}: no such folder or zip, no preset ({', '.join(PRESETS)}) and no release "
        f"({', '.join(RELEASES)}){hint}"
    )

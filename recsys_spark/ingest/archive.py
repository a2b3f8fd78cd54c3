"""Unpacking the tables of a release's zip, trusting nothing that the zip says; driver only, no Spark."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recsys_spark.errors import DataError
from recsys_spark.ingest.releases import LAYOUTS

MAX_BYTES = 32 << 30
"""More than this is not unpacked: ml-32m's tables are 0.9 GB."""

_TABLES = {
    name for layout in LAYOUTS for table in (layout.ratings, layout.movies, layout.users) for name in table.names
}
_RATINGS = {name for layout in LAYOUTS for name in layout.ratings.names}
_CHUNK = 1 << 20


def unpack(archive: Path, target: Path, max_bytes: int = MAX_BYTES) -> list[str]:
    """Unpack ratings, movies and users (files, or folders of part files) into `target`, without the zip's top folder.

    Returns
    -------
    list of str
        What was unpacked, relative to `target`, sorted.

    Raises
    ------
    DataError
        Not a zip, damaged, encrypted, without or with several sets of ratings, with a path that leads outside, with a
        link, or with more than `max_bytes` of tables (counted as they are unpacked, whatever the zip says).
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = _tables(archive, source.infolist())
            left = max_bytes
            for path, member in members.items():
                left -= _extract(source, member, target / path, left, archive)
    except FileNotFoundError as error:
        raise DataError(f"no such zip: {archive}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive} is damaged or not a zip ({error}); fetch it again") from error
    return sorted(members)


def _tables(archive: Path, members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members that make up the tables, by their path under the folder that holds the ratings."""
    for member in members:
        _check(archive, member)
    files = {PurePosixPath(member.filename): member for member in members if not member.is_dir()}
    roots = {
        PurePosixPath(*path.parts[:depth])
        for path in files
        for depth, part in enumerate(path.parts)
        if part in _RATINGS and "__MACOSX" not in path.parts
    }
    if len(roots) != 1:
        found = ", ".join(sorted(map(str, roots)))
        shown = ", ".join(sorted(map(str, files))[:10])
        raise DataError(
            f"{archive} holds several data sets, in {found}: unpack it and give one folder"
            if roots
            else f"{archive} holds no ratings ({', '.join(sorted(_RATINGS))}); found: {shown or 'nothing'}"
        )
    root = roots.pop()
    inside = {path.relative_to(root): member for path, member in files.items() if path.is_relative_to(root)}
    return {str(path): member for path, member in inside.items() if path.parts[0] in _TABLES}


def _check(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        raise DataError(f"{archive} is not safe to unpack: {member.filename!r} leads outside the target folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{archive} is not safe to unpack: {member.filename!r} is a link")
    if member.flag_bits & 1:
        raise DataError(f"{archive} is encrypted ({member.filename!r}): unpack it and give the folder")


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, archive: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with source.open(member) as stream, target.open("wb") as file:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            if size > left:
                raise DataError(
                    f"{archive} unpacks to more than the limit, at {member.filename!r}: not a MovieLens release"
                )
            file.write(chunk)
    return size

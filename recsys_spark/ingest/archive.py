"""Unpacking the tables of a release's zip, trusting nothing that the zip says; driver only, no Spark."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recsys_spark.errors import DataError
from recsys_spark.ingest.releases import LAYOUTS

_TABLES = {
    name for layout in LAYOUTS for table in (layout.ratings, layout.movies, layout.users) for name in table.names
}
_RATINGS = {name for layout in LAYOUTS for name in layout.ratings.names}
_CHUNK = 1 << 20
# What `zipfile` and its decompressors raise for bytes that are no zip, beside OSError.
_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, IndexError),
)


def unpack(archive: Path, target: Path, max_bytes: int) -> list[str]:
    """Unpack ratings, movies and users (files, or folders of part files) into `target`, without the zip's top folder.

    Returns
    -------
    list of str
        What was unpacked, relative to `target`, sorted.

    Raises
    ------
    DataError
        Not a zip, damaged, encrypted, without or with several sets of ratings, with a path that leads outside, with a
        link, or with more than `max_bytes` of tables: by what the zip says, before anything is written, and as they
        are unpacked, whatever it says. Or `target` cannot be written.
    """
    if not archive.is_file():
        raise DataError(f"no such zip: {archive}")
    try:
        with zipfile.ZipFile(archive) as source:
            members = _tables(archive, source.infolist())
            _check_size(archive, sum(member.file_size for member in members.values()), max_bytes)
            size = 0
            for path, member in members.items():
                size = _extract(source, member, target / path, size, max_bytes, archive)
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged or not a zip ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot unpack {archive} to {target}: {error}") from error
    return sorted(members)


def _check_size(archive: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(
            f"{archive} unpacks to more than {max_bytes:,} bytes; if it is what you mean to read, raise "
            "ingest.max_unpacked_gb"
        )


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
    tables = {path: member for path, member in inside.items() if path.parts[0] in _TABLES}
    both = sorted(str(parent) for path in tables for parent in path.parents if parent in tables)
    if both:
        raise DataError(f"{archive} is not safe to unpack: {both[0]!r} is a file and a folder in it")
    return {str(path): member for path, member in tables.items()}


def _check(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        raise DataError(f"{archive} is not safe to unpack: {member.filename!r} leads outside the target folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{archive} is not safe to unpack: {member.filename!r} is a link")
    if member.flag_bits & 1:
        raise DataError(f"{archive} is encrypted ({member.filename!r}): unpack it and give the folder")


def _extract(
    source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, size: int, max_bytes: int, archive: Path
) -> int:
    """Unpack one table beside others of ``size`` bytes; returns what all of them are now."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(member) as stream, target.open("xb") as file:
        while chunk := stream.read(_CHUNK):
            size += len(chunk)
            _check_size(archive, size, max_bytes)
            file.write(chunk)
    return size

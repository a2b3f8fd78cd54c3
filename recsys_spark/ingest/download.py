"""Fetching a release from GroupLens: whole and verified, or not there at all; driver only, no Spark."""

from __future__ import annotations

import hashlib
import http.client
import logging
import re
import ssl
import urllib.error
import urllib.request
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

from recsys_spark.errors import DataError
from recsys_spark.ingest.releases import BASE_URL, Release

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 60
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Download:
    """A zip in the cache; `verified` is its md5 where that could be compared with GroupLens's, else None."""

    path: Path
    verified: str | None


def fetch(release: Release, cache: Path, max_bytes: int, base_url: str = BASE_URL) -> Download:
    """Return the release's zip from the cache, after downloading it if it is not there.

    The file appears in the cache under its name only when it is complete and its md5 is right. The md5 is the known
    one, else that of the ``.md5`` file beside the zip; where there is neither, the log says that it was not verified.

    Raises
    ------
    DataError
        The server cannot be reached or has no such file, its certificate is not valid, the file is larger than
        `max_bytes`, the transfer broke off, or the md5 is another one.
    """
    target = cache.expanduser() / release.file
    url = f"{base_url.rstrip('/')}/{release.file}"
    if target.is_file() and _is_sound(target, release.md5):
        log.info("%s is in the cache: %s", release.name, target)
        return Download(target, release.md5)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{release.file}.{uuid.uuid4().hex}.part")
    try:
        log.info("downloading %s to %s", url, target)
        digest = _download(url, part, max_bytes)
        expected = release.md5 or _published_md5(f"{url}.md5")
        if expected is None:
            log.warning("%s: not verified, GroupLens gives no md5 for it (ours is %s)", release.file, digest)
        elif digest != expected:
            raise DataError(
                f"{url} has md5 {digest}, expected {expected}: it is damaged or was replaced; nothing was kept"
            )
        if not zipfile.is_zipfile(part):
            raise DataError(f"{url} is not a zip file; nothing was kept")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return Download(target, expected)


def md5_of(path: Path) -> str:
    """The md5 of a file, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _is_sound(path: Path, md5: str | None) -> bool:
    if (md5_of(path) == md5) if md5 else zipfile.is_zipfile(path):
        return True
    log.warning("%s is damaged: downloading it again", path)
    return False


def _download(url: str, part: Path, max_bytes: int) -> str:
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, part.open("wb") as file:
            expected = response.length  # None where the server does not say
            _check_size(url, expected or 0, max_bytes)
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                _check_size(url, size, max_bytes)
                file.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(_explain(url, error)) from error
    if expected is not None and size != expected:
        raise DataError(f"{url} broke off after {size:,} of {expected:,} bytes; run again")
    return md5_of(part)


def _check_size(url: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(
            f"{url} has {size:,} bytes or more, allowed are {max_bytes:,}; if it is what you mean to read, raise "
            "ingest.max_download_gb; nothing was kept"
        )


def _published_md5(url: str) -> str | None:
    """The md5 in the file beside the zip (``<md5>  <name>`` or ``MD5 (<name>) = <md5>``), None where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            text = response.read(4096).decode("ascii", errors="replace")
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return None
        raise DataError(_explain(url, error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise DataError(_explain(url, error)) from error
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text)
    return found[0].lower() if found else None


def _explain(url: str, error: Exception) -> str:
    name = url.rsplit("/", 1)[-1].removesuffix(".md5")
    advice = f"fetch {name} in another way and give its path: --dataset path/to/{name}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {url} is not valid ({reason.verify_message}), as has happened at GroupLens; {advice}"
        )
    if isinstance(error, urllib.error.HTTPError):
        return f"{url} answered {error.code} {error.reason}; {advice}"
    return f"cannot download {url} ({reason}); {advice}"

"""Downloads against a server on this machine: kept when whole and right, otherwise not there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import ssl
import threading
import urllib.error
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsys_spark.errors import DataError
from recsys_spark.ingest import download
from recsys_spark.ingest.download import fetch, md5_of
from recsys_spark.ingest.releases import Release


def make_content() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ml-x/ratings.csv", "userId,movieId,rating,timestamp\n")
    return buffer.getvalue()


CONTENT = make_content()
LIMIT = 10_000
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@dataclass
class Site:
    """What the server serves, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    silent: bool = False


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            content = state.files.get(self.path)
            if content is None:
                self.send_error(state.errors.get(self.path, 404))
                return
            self.send_response(200)
            if not state.silent:
                self.send_header("Content-Length", str(state.declared.get(self.path, len(content))))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have heard enough
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_release_is_downloaded_verified_and_kept(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = CONTENT
    for _ in range(2):
        got = fetch(Release("ml-x", MD5), tmp_path / "cache", LIMIT, site.url)
        assert (got.path, got.verified) == (tmp_path / "cache" / "ml-x.zip", MD5)
        assert got.path.read_bytes() == CONTENT
    assert site.asked == ["/ml-x.zip"]
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["ml-x.zip"]


@pytest.mark.parametrize("text", [f"{MD5}  ml-x.zip\n", f"MD5 (ml-x.zip) = {MD5.upper()}\n"], ids=["md5sum", "md5"])
def test_an_md5_beside_the_zip_is_used(tmp_path: Path, site: Site, text: str) -> None:
    site.files |= {"/ml-x.zip": CONTENT, "/ml-x.zip.md5": text.encode()}
    assert fetch(Release("ml-x", None), tmp_path, LIMIT, site.url).verified == MD5
    site.files["/ml-y.zip"] = CONTENT
    site.files["/ml-y.zip.md5"] = b"0" * 32
    with pytest.raises(DataError, match=f"has md5 {MD5}, expected 0000"):
        fetch(Release("ml-y", None), tmp_path, LIMIT, site.url)


def test_without_any_md5_the_log_says_so(tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.files["/ml-x.zip"] = CONTENT
    with caplog.at_level(logging.WARNING):
        assert fetch(Release("ml-x", None), tmp_path, LIMIT, site.url).verified is None
    assert "not verified" in caplog.text


def test_a_wrong_md5_keeps_nothing(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = CONTENT
    with pytest.raises(DataError, match=f"has md5 {MD5}, expected {'1' * 32}.*nothing was kept"):
        fetch(Release("ml-x", "1" * 32), tmp_path, LIMIT, site.url)
    assert list(tmp_path.iterdir()) == []


def test_a_page_in_place_of_a_zip_keeps_nothing(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = b"<html>sign in</html>"
    with pytest.raises(DataError, match="is not a zip file"):
        fetch(Release("ml-x", None), tmp_path, LIMIT, site.url)
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_that_breaks_off_keeps_nothing(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = CONTENT[:50]
    site.declared["/ml-x.zip"] = len(CONTENT)
    with pytest.raises(DataError, match=f"broke off after 50 of {len(CONTENT)} bytes"):
        fetch(Release("ml-x", MD5), tmp_path, LIMIT, site.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("says", [True, False])
def test_a_file_larger_than_allowed_is_not_fetched(tmp_path: Path, site: Site, says: bool) -> None:
    site.files["/ml-x.zip"] = CONTENT + bytes(5_000_000)
    site.silent = not says
    allowed = r"has [\d,]+ bytes or more, allowed are 10,000; .* raise ingest.max_download_gb; nothing was kept"
    with pytest.raises(DataError, match=allowed):
        fetch(Release("ml-x", None), tmp_path, LIMIT, site.url)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = CONTENT
    (tmp_path / "ml-x.zip").write_bytes(CONTENT[:-1])
    assert md5_of(fetch(Release("ml-x", MD5), tmp_path, LIMIT, site.url).path) == MD5
    (tmp_path / "ml-y.zip").write_bytes(b"no zip")
    site.files["/ml-y.zip"] = CONTENT
    assert md5_of(fetch(Release("ml-y", None), tmp_path, LIMIT, site.url).path) == MD5


@pytest.mark.parametrize("code", [404, 503])
def test_a_missing_release_advises_a_local_zip(tmp_path: Path, site: Site, code: int) -> None:
    site.errors["/ml-x.zip"] = code
    with pytest.raises(DataError, match=f"answered {code} .*--dataset path/to/ml-x.zip"):
        fetch(Release("ml-x", MD5), tmp_path, LIMIT, site.url)


def test_an_md5_that_cannot_be_fetched_is_not_taken_for_none(tmp_path: Path, site: Site) -> None:
    site.files["/ml-x.zip"] = CONTENT
    site.errors["/ml-x.zip.md5"] = 500
    with pytest.raises(DataError, match=r"ml-x.zip.md5 answered 500 .*--dataset path/to/ml-x.zip"):
        fetch(Release("ml-x", None), tmp_path, LIMIT, site.url)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path: Path, site: Site) -> None:
    with pytest.raises(DataError, match=r"cannot download .*refused.*--dataset path/to/ml-x.zip"):
        fetch(Release("ml-x", MD5), tmp_path, LIMIT, "http://127.0.0.1:9")


def test_an_expired_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ssl.SSLCertVerificationError(1, "certificate verify failed")
    problem.verify_message = "certificate has expired"

    def refuse(url: str, timeout: float) -> None:
        raise urllib.error.URLError(problem)

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"not valid \(certificate has expired\).*--dataset path/to/ml-x.zip"):
        fetch(Release("ml-x", MD5), tmp_path, LIMIT)

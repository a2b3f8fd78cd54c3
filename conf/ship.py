"""Pack recsys_spark into a zip for executors (`--py-files`) and print its path; used by spark-submit.sh.

The name holds a hash of the content: the same sources make the same file, and a running job's file is never replaced.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(root: Path, folder: Path) -> Path:
    """Write the zip into `folder` unless it is there."""
    buffer = io.BytesIO()
    files = (p for p in (root / "recsys_spark").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            archive.writestr(zipfile.ZipInfo(file.relative_to(root).as_posix(), EPOCH), file.read_bytes())
    content = buffer.getvalue()
    target = folder / f"recsys_spark-{hashlib.blake2b(content, digest_size=8).hexdigest()}.zip"
    if not target.exists():
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(target)
    return target


if __name__ == "__main__":
    print(pack(Path(sys.argv[1]), Path(sys.argv[2])))

"""Tar files of any entries, for tests of archives."""

import io
import tarfile


def tar_of(path, *entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for entry in entries:
            info, content = (tarfile.TarInfo(entry), b"x") if isinstance(entry, str) else entry
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path

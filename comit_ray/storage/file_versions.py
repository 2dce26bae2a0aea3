"""Lists the versions of all files of a directory, so that a copy can be compared with the present files.

S3 lists 1,000 keys per request: 20 requests for the 19,532 chunk files of ten million images.
"""

import os

from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import s3, storage


def versions(uri: str, suffix: str) -> dict[str, tuple[str, int]]:
    """Returns name -> version and size in bytes of every visible file directly in the directory `uri`, sorted by name.

    The version changes when a file is replaced: in S3 the ETag, on a local disk the time of the last change, the inode
    and the size.

    Args:
        uri: URI of a directory.
        suffix: end of the files' names.

    Raises:
        NotFoundError: there is no directory.
        StorageError: it cannot be listed.
    """
    uri = storage.normalise(uri)
    found = _of_s3(uri) if storage.is_s3(uri) else _of_disk(uri)
    return {name: value for name, value in sorted(found.items()) if name.endswith(suffix) and not name.startswith(".")}


def _of_s3(uri: str) -> dict[str, tuple[str, int]]:
    bucket, key = s3.split(uri)
    prefix = f"{key}/" if key else ""
    found: dict[str, tuple[str, int]] = {}
    try:
        pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        for page in pages:
            for entry in page.get("Contents", ()):
                found[entry["Key"].removeprefix(prefix)] = entry["ETag"].strip('"'), int(entry["Size"])
    except s3.errors() as error:
        if s3.error_code(error) == "NoSuchBucket":
            raise NotFoundError(f"no bucket at {uri}") from error
        raise StorageError(f"cannot list {uri}: {error}") from error
    if not found:
        raise NotFoundError(f"no directory at {uri}")
    return found


def _of_disk(uri: str) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    try:
        with os.scandir(uri) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # a temporary file that was renamed meanwhile
                    continue
                if entry.is_file():
                    version = f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"
                    found[entry.name] = version, status.st_size
    except FileNotFoundError as error:
        raise NotFoundError(f"no directory at {uri}") from error
    except OSError as error:
        raise StorageError(f"cannot list {uri}: {error}") from error
    return found

"""Clients for S3 and compatible stores (MinIO, Ceph), and key listings in constant memory.

Endpoint and credentials come only from the usual AWS places, never from a command line or URI: environment
(`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`), configuration files, roles of containers and
instances. With `COMIT_S3_ANONYMOUS=1` requests are not signed, for public buckets.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from comit_ray.errors import StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


ATTEMPTS = 10  # pyarrow's and boto3's own retries, with backoff; Ray retries only five error patterns
ANONYMOUS_VARIABLE = "COMIT_S3_ANONYMOUS"
NO_CREDENTIALS = (
    "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile of "
    "~/.aws (and AWS_ENDPOINT_URL for a store that is not Amazon's); for a public bucket set COMIT_S3_ANONYMOUS=1"
)
PUTS = 3
"""Attempts of a PUT whose bytes changed on the way."""
_OTHER_BYTES = ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch")
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn")


def split(uri: str) -> tuple[str, str]:
    """Splits an `s3://` URI into bucket and key; the key is empty for a whole bucket."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def anonymous() -> bool:
    """Whether requests are sent without a signature."""
    return os.environ.get(ANONYMOUS_VARIABLE, "").lower() in ("1", "true", "yes")


@lru_cache(maxsize=1)
def client() -> "S3Client":
    """Returns the boto3 client of this process.

    Raises:
        StorageError: requests must be signed and there are no credentials.
    """
    import boto3  # the import takes a second, and only S3 needs it
    from botocore import UNSIGNED
    from botocore.config import Config

    options: dict[str, Any] = {"retries": {"max_attempts": ATTEMPTS, "mode": "standard"}}
    if anonymous():
        options["signature_version"] = UNSIGNED
    region = os.environ.get("AWS_REGION")  # boto3, unlike other AWS tools, ignores it
    found = boto3.client("s3", region_name=region, config=Config(**options))
    if not anonymous() and boto3.DEFAULT_SESSION is not None and boto3.DEFAULT_SESSION.get_credentials() is None:
        raise StorageError(NO_CREDENTIALS)
    if not _own_endpoint(found):
        return found
    # Other stores seldom resolve bucket.host, and older ones refuse the checksums that botocore adds since 1.36.
    options["s3"] = {"addressing_style": "path"}
    options["request_checksum_calculation"] = options["response_checksum_validation"] = "when_required"
    return boto3.client("s3", region_name=region, config=Config(**options))


@lru_cache(maxsize=1)
def filesystem() -> pafs.S3FileSystem:
    """Returns the pyarrow file system of this process, with the endpoint and region that boto3 finds."""
    found = client()
    return pafs.S3FileSystem(
        endpoint_override=found.meta.endpoint_url if _own_endpoint(found) else None,
        region=found.meta.region_name,
        anonymous=anonymous(),
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def list_keys(bucket: str, prefix: str) -> Iterator[tuple[str, int, str | None]]:
    """Yields key, size in bytes and ETag of every object below `prefix`, in byte order of the keys.

    Memory holds one page of 1,000 keys at a time.

    Raises:
        botocore.exceptions.ClientError: the store refuses; the caller translates the error.
    """
    for page in client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            yield entry["Key"], entry["Size"], (entry.get("ETag") or "").strip('"') or None


def put(bucket: str, key: str, data: bytes, **condition: Any) -> None:
    """Writes an object with its SHA-256 and MD5, so that the store refuses bytes that changed on the way.

    The checksums go into headers, because older stores refuse trailers; every store compares the MD5. A write that is
    refused for its checksum is sent again.

    Raises:
        botocore.exceptions.ClientError: the store refuses; the caller translates the error.
    """
    sums: dict[str, Any] = {
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
        "ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
    }
    for left in reversed(range(PUTS)):
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, **sums, **condition)
            return
        except errors() as error:
            if error_code(error) not in _OTHER_BYTES or not left:
                raise


def has_sibling(bucket: str, key: str) -> bool:
    """Whether the prefix of `key` can be listed and contains another object."""
    prefix = f"{key.rpartition('/')[0]}/" if "/" in key else ""
    try:
        return any(found != key and not found.endswith("/") for found, *_ in islice(list_keys(bucket, prefix), 3))
    except errors():
        return False


def is_listed(bucket: str, key: str) -> bool:
    """Whether the bucket lists the object; asked when a read reports that there is none."""
    try:
        return any(found == key for found, *_ in islice(list_keys(bucket, key), 1))
    except errors():
        return False


def errors() -> tuple[type[Exception], ...]:
    """Returns the exceptions of boto3: refusals of the store, failed connections, missing credentials or regions.

    botocore raises `ValueError` for an endpoint that is not a URL. This is a function so that only S3 imports botocore.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    return ClientError, BotoCoreError, ValueError


def error_code(error: Exception) -> str | None:
    """Returns the error code that the store sent, such as `NoSuchBucket`; None if no store sent the error."""
    response = getattr(error, "response", None)  # only `ClientError` has it
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return None if code is None else str(code)


def forget() -> None:
    """Drops the clients, so that the next call reads the environment again."""
    client.cache_clear()
    filesystem.cache_clear()


def _own_endpoint(found: "S3Client") -> bool:
    return not (urlsplit(found.meta.endpoint_url).hostname or "").endswith(_AMAZON)

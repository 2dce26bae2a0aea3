"""List 100,000 keys from an S3 endpoint on this machine: `python -m tests.benchmarks.listing [KEYS]`.

The endpoint answers ListObjectsV2 alone, from a process of its own: what is timed is our side of it. (moto's server, as
in the tests, sorts all its keys for every page: at 100,000 keys that is 0.6 s a page, whoever asks.)
"""

import multiprocessing
import os
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from urllib.parse import parse_qs, urlsplit

from comit_ray.data.sources import listing
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.storage import storage
from tests.benchmarks.measure import measured

PAGE = 1000


class Listing(BaseHTTPRequestHandler):
    """Pages of made-up keys, in the order of their bytes."""

    keys = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One page; the continuation token is the number of the first key."""
        query = parse_qs(urlsplit(self.path).query)
        start = int(query.get("continuation-token", ["0"])[0])
        stop = min(start + PAGE, self.keys)
        contents = "".join(
            f"<Contents><Key>images/{number:08d}.png</Key><Size>1000000</Size><ETag>x</ETag>"
            "<LastModified>2020-05-30T10:11:12.000Z</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(start, stop)
        )
        more = f"<NextContinuationToken>{stop}</NextContinuationToken>" if stop < self.keys else ""
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}{contents}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


def serve(keys: int, pipe: Connection) -> None:
    """Serve until the pipe says so."""
    Listing.keys = keys
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    pipe.send(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.recv()
    server.shutdown()


def main(keys: int) -> None:
    """Stream the listing, then index it as a source does."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(keys, there), daemon=True)
    process.start()
    os.environ |= {
        "AWS_ENDPOINT_URL": here.recv(),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    next(storage.list_files("s3://archive/images"))  # the clients are made once
    with measured(f"{keys:,} keys listed, none kept"):
        assert sum(1 for _ in storage.list_files("s3://archive/images")) == keys
    with tempfile.TemporaryDirectory() as folder, measured(f"{keys:,} keys listed to Parquet"):
        assert listing.write("s3://archive/images", folder, part_rows=25_000) == keys
    with measured(f"{keys:,} keys listed and indexed"):
        assert len(SourceFiles("s3://archive/images")) == keys
    here.send("done")
    process.join(10)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

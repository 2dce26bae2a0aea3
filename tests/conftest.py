"""Fixtures that every test may use: real radiographs where they are, and a Ray that the session starts and ends."""

import atexit
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest
from moto.server import ThreadedMotoServer

from comit_ray.evaluation.pictures import picture
from comit_ray.storage import s3

# A busy machine is no failure: no test of a property has a deadline, nor do its examples.
hypothesis.settings.register_profile("comit", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("comit")

# A shell's background job ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# PyTorch, Ray and the rest are a million objects that live as long as the process. The garbage collector need not look
# through them while they are imported, nor again a third of a second at a time in each test.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


atexit.register(gc.unfreeze)  # else libraries call at the end all objects lost that were left to the collector


REPOSITORY = Path(__file__).resolve().parent.parent

# Of every Ray that a test starts, its own or a job's.
os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # a process a training that has nothing to do
os.environ.setdefault("RAY_worker_niceness", "0")  # else a busy machine leaves Ray's workers (15) no time at all
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")  # a new worker imports for 3 s
os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")  # nobody reads how busy the processes are


@pytest.fixture(scope="session")
def cxr() -> Path:
    """Root of the real radiographs (`COMIT_TEST_DATA`, else `../shared/cxr`); skips where they are absent."""
    root = Path(os.environ.get("COMIT_TEST_DATA") or REPOSITORY.parent / "shared" / "cxr").resolve()
    if not root.is_dir():
        pytest.skip(f"no real radiographs at {root}: set COMIT_TEST_DATA to their directory")
    return root


@pytest.fixture(scope="module", autouse=True)
def _coarse_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """A report's plots have a quarter of their dots, save where it is the plots that are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.path.is_relative_to(REPOSITORY / "tests" / "evaluation" / "pictures"):
            patch.setattr(picture, "DPI", 50)
        yield


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Path]:
    """A local Ray of two CPUs for the whole test session; the directory of its logs."""
    import ray

    context: Any = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    node: Any = ray._private.worker._global_node
    node.kill_log_monitor()  # ten times a second it looks for logs that nobody reads
    yield Path(context.address_info["session_dir"]) / "logs"
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A local S3 server for the whole test session."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@contextmanager
def empty_bucket(endpoint: str, name: str) -> Iterator[str]:
    """URI of a new bucket of the local S3 server, `AWS_*` set so that storage finds it."""
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        s3.forget()
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=name)
        yield f"s3://{name}"
        s3.forget()


@pytest.fixture
def bucket(s3_endpoint: str, tmp_path: Path) -> Iterator[str]:
    """URI of an empty bucket of the test's own."""
    with empty_bucket(s3_endpoint, f"bucket-{abs(hash(tmp_path)):x}") as uri:
        yield uri

"""A Ray cluster of a head and workers on this machine, started and submitted to by the commands of the README.

Only what was started here is ended, by its process id: other Rays of the machine are none of ours.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.conftest import REPOSITORY

ADDRESS = "127.0.0.1"
START_S, END_S = 180, 60
_ON_EVERY_NODE = """
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init()
here = ray.remote(num_cpus=0)(lambda: None)
ray.get([here.options(scheduling_strategy=On(n["NodeID"], soft=False)).remote() for n in ray.nodes() if n["Alive"]])
"""
SOON = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_worker_niceness": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "1",
    "LOG_NAME_UPDATE_INTERVAL_S": "5",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""A node that is gone is seen to be gone within seconds; and a busy machine does not starve Ray's workers.

A watcher for notice that a machine is taken away would be one more process a training; nobody gives notice here.
Workers that are started in advance have not the working directory of a job. The head looks through the logs of all
nodes, as they lie on one machine: for new ones every five seconds, however few there are.
"""


class LocalCluster:
    """A head without CPUs, for drivers, and workers; every client needs the token.

    Args:
        directory: for the token, logs and Ray's own files; short, for it becomes part of sockets' names.
        environment: of all nodes, beside this process's own: keys of the object storage.
        cpus: of each worker.
        workers: how many.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], cpus: int = 2, workers: int = 2) -> None:
        self.directory = directory
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        binaries = Path(sys.executable).parent
        self.without_token = os.environ | dict(environment) | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
        self.without_token.pop("RAY_ADDRESS", None)
        self.environment = self.without_token | SOON | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self.cpus, self._wanted = cpus, workers
        self._killed: set[int] = set()
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._seen: dict[int, psutil.Process] = {}
        self.gcs, dashboard = _free_port(), _free_port()
        self.environment["RAY_ADDRESS"] = self.without_token["RAY_ADDRESS"] = f"http://{ADDRESS}:{dashboard}"
        try:
            head = ["--head", f"--port={self.gcs}", f"--dashboard-port={dashboard}", "--num-cpus=0"]
            more = [f"--temp-dir={directory / 'ray'}", f"--ray-client-server-port={_free_port()}"]
            self._start([*head, *more])
            for _ in range(workers):  # one after the other: two that begin at once fail (Ray 2.60)
                self.add_worker()
        except BaseException:
            self.stop()
            raise

    def add_worker(self) -> int:
        """One more worker; its index in `nodes`."""
        where = f"--address={ADDRESS}:{self.gcs}"
        return self._start([where, f"--num-cpus={self.cpus}", "--include-log-monitor=false"])

    def _start(self, options: list[str]) -> int:
        log = self.directory / f"node-{len(self.nodes)}.log"
        command = ["ray", "start", "--block", f"--node-ip-address={ADDRESS}", "--object-store-memory=300000000"]
        # Ports are drawn, for all nodes, and other Rays of this machine, have one address.
        command += ["--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={_free_port()}"]
        with log.open("wb") as file:
            environment = self.environment | {"RAY_ADDRESS": ""}
            node = subprocess.Popen(
                [*command, *options], env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.nodes.append(node)
        deadline = time.monotonic() + START_S
        while b"Ray runtime started" not in log.read_bytes():
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return len(self.nodes) - 1

    def workers(self) -> list[int]:
        """Indices in `nodes` of the workers that were not killed."""
        return [node for node in range(1, len(self.nodes)) if node not in self._killed]

    def workers_with(self, command: str) -> list[int]:
        """Indices in `nodes` of the workers that run a process whose command begins so."""
        found = []
        for node in self.workers():
            for process in psutil.Process(self.nodes[node].pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has just ended
                    if " ".join(process.cmdline()).startswith(command):
                        found.append(node)
        return found

    def mend(self) -> bool:
        """Have as many workers as it began with; whether any was added."""
        missing = self._wanted - len(self.workers())
        for _ in range(missing):
            self.add_worker()
        return missing > 0

    def kill_raylet(self, node: int) -> None:
        """`kill -9` to the node's raylet: what becomes of a machine that is lost."""
        self._remember()
        self._killed.add(node)
        for process in psutil.Process(self.nodes[node].pid).children(recursive=True):
            if process.name() == "raylet":
                os.kill(process.pid, signal.SIGKILL)
                return
        raise AssertionError(f"node {node} has no raylet")

    def unpack(self) -> None:
        """Have every node unpack the working directory, before a job needs it.

        Ray 2.60 gives each node a directory of its own machine, which it empties first; here all have the same.
        """
        deadline = time.monotonic() + START_S
        done = self.submit("python", "-c", _ON_EVERY_NODE)
        while "No available agent" in done.stderr and time.monotonic() < deadline:  # the head has just begun
            time.sleep(0.5)
            done = self.submit("python", "-c", _ON_EVERY_NODE)
        assert done.returncode == 0, done.stdout + done.stderr

    def submit(self, *command: str, token: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of a command, and what it printed once it has ended."""
        done, _ = self.start_job(*command, token=token)
        try:
            out, err = done.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            done.kill()
            out, err = done.communicate()
            raise AssertionError(f"{command} did not end in {timeout} s:\n{out[-5000:]}\n{err[-2000:]}") from None
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def start_job(self, *command: str, token: bool = True) -> tuple[subprocess.Popen[str], str]:
        """`ray job submit` of a command, as it runs, and the submission's id."""
        submission = f"job-{secrets.token_hex(4)}"
        whole = ["ray", "job", "submit", "--working-dir", ".", "--runtime-env", "cluster/runtime_env.yaml"]
        process = subprocess.Popen(
            [*whole, "--submission-id", submission, "--", *command],
            cwd=REPOSITORY,
            env=self.environment if token else self.without_token,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, submission

    def stop_job(self, submission: str) -> None:
        """`ray job stop`."""
        command = ["ray", "job", "stop", submission]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def stop(self) -> None:
        """End every process of the cluster."""
        self._remember()
        alive = list(self._seen.values())
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # asked to end, a node waits half a minute for its work to go elsewhere
        psutil.wait_procs(alive, timeout=END_S)
        for node in self.nodes:
            node.wait()

    def _remember(self) -> None:
        """Processes outlive a parent that is killed: they are noted while it still has them."""
        for node in self.nodes:
            if node.poll() is None:
                parent = psutil.Process(node.pid)
                for process in [parent, *parent.children(recursive=True)]:
                    self._seen[process.pid] = process


def _free_port() -> int:
    """Outside the range that Ray's workers draw from."""
    while True:
        with socket.socket() as candidate:
            candidate.bind((ADDRESS, 0))
            port = int(candidate.getsockname()[1])
        if not 10002 <= port <= 19999:
            return port

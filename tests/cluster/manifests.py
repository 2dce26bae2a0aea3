"""The manifests of cluster/ as data, and what the operator makes of them."""

import copy
from collections.abc import Iterator
from typing import Any

import yaml

from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "cluster"
JOBS = ("train", "sweep", "screen")
Manifest = dict[str, Any]


def documents(path: str) -> list[Manifest]:
    """Every document of a YAML file below cluster/."""
    return list(yaml.safe_load_all((CLUSTER / path).read_text()))


def base() -> list[Manifest]:
    """What `kubectl apply -k cluster/base` applies."""
    return [
        document
        for file in documents("base/kustomization.yaml")[0]["resources"]
        for document in documents(f"base/{file}")
    ]


def ray_cluster() -> Manifest:
    return documents("base/raycluster.yaml")[0]


def ray_job(name: str) -> Manifest:
    """The job with the cluster that cluster/jobs/own-cluster gives it."""
    job = documents(f"jobs/{name}/rayjob.yaml")[0]
    job["spec"]["rayClusterSpec"] = copy.deepcopy(ray_cluster()["spec"])
    return job


def nightly() -> Manifest:
    """The RayCronJob with the cluster that cluster/jobs/own-cluster gives each of its jobs."""
    job = documents("jobs/nightly/raycronjob.yaml")[0]
    job["spec"]["jobTemplate"]["rayClusterSpec"] = copy.deepcopy(ray_cluster()["spec"])
    return job


def groups() -> Iterator[tuple[str, Manifest]]:
    """Name and group of the head and of the workers."""
    spec = ray_cluster()["spec"]
    yield "head", spec["headGroupSpec"]
    for group in spec["workerGroupSpecs"]:
        yield group["groupName"], group


def templates() -> dict[str, Manifest]:
    """Every pod template, by a name for the reader, with the label of its type that the operator adds."""
    found = {}
    for name, group in groups():
        template = copy.deepcopy(group["template"])
        template["metadata"]["labels"]["ray.io/node-type"] = "head" if name == "head" else "worker"
        found[name] = template
    return found | {f"submitter of {job}": ray_job(job)["spec"]["submitterPodTemplate"] for job in JOBS}

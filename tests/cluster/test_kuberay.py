"""RayCluster and RayJobs against the fields that KubeRay documents, and as Ray's own autoscaler reads them."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from comit_ray.chunks.graph import READ_CPUS, WRITE_CPUS
from comit_ray.command import options
from comit_ray.command.jobs import JOBS as JOBS_BY_NAME
from comit_ray.screening.pool_sizes import predict_cpus
from tests.cluster.manifests import CLUSTER, JOBS, base, documents, groups, nightly, ray_cluster, ray_job

FIELDS = json.loads((Path(__file__).parent / "kuberay_fields.json").read_text())
PLAIN: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def check(value: Any, kind: Any, where: str) -> None:
    """Every field of `value` is documented and of the documented type."""
    if kind == "kubernetes":  # judged by Kubernetes' own schemas: test_linters.py
        return
    assert kind != "unused", f"{where}: not among the fields that are described here"
    if isinstance(kind, list):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            check(item, kind[0], f"{where}[{number}]")
    elif isinstance(kind, dict):
        assert value in kind["enum"], f"{where}: {value} is none of {kind['enum']}"
    elif kind == "strings":
        assert all(isinstance(item, str) for pair in value.items() for item in pair), (
            f"{where}: expected strings: {value}"
        )
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{where}: expected {kind}, got {value!r}"
        assert kind == "boolean" or not isinstance(value, bool), where
    else:
        unknown = value.keys() - FIELDS[kind].keys()
        assert not unknown, f"{where}: KubeRay has no {sorted(unknown)} in {kind}"
        for name, item in value.items():
            check(item, FIELDS[kind][name], f"{where}.{name}")


def test_every_field_is_kuberays() -> None:
    check(ray_cluster(), "RayCluster", "RayCluster")
    for name in JOBS:
        check(ray_job(name), "RayJob", name)
    check(nightly(), "RayCronJob", "nightly")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"authOption": {}}, "no .'authOption'."),
        ({"authOptions": {"mode": "tokens"}}, "tokens is none of"),
        ({"headGroupSpec": {"rayStartParams": {"num-cpus": 0}}}, "expected strings"),
        ({"workerGroupSpecs": [{"maxReplicas": "4"}]}, "expected integer"),
    ],
)
def test_what_is_not_kuberays_is_seen(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check({"spec": change}, "RayCluster", "RayCluster")


def test_the_autoscaler_reads_the_groups_as_meant() -> None:
    cluster = ray_cluster()
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    types = {name: kind["resources"] for name, kind in config["available_node_types"].items()}
    sizes = {name: (kind["min_workers"], kind["max_workers"]) for name, kind in config["available_node_types"].items()}
    assert types["headgroup"]["CPU"] == 0
    assert (types["decode"]["CPU"], types["decode"].get("GPU", 0)) == (8, 0)
    assert (types["predict"]["CPU"], types["predict"]["GPU"]) == (0, 1)
    assert sizes["decode"] == (1, 16)
    assert sizes["predict"] == (0, 4)
    labels = {name: kind["labels"] for name, kind in config["available_node_types"].items() if kind["labels"]}
    assert labels == {"decode": {"comit-ray/role": "decode"}, "predict": {"comit-ray/role": "predict"}}
    assert config["idle_timeout_minutes"] == 2


def test_predictors_fit_where_decoding_never_does() -> None:
    """On GPU nodes Ray counts no CPU: a predictor wants none, and what fetches, decodes and writes wants some."""
    (cpus,) = (int(group["rayStartParams"]["num-cpus"]) for name, group in groups() if name == "predict")
    assert cpus == predict_cpus(gpu=True) == 0
    assert min(READ_CPUS, WRITE_CPUS, predict_cpus(gpu=False)) > 0


def test_ray_is_the_pinned_one_and_asks_for_its_token() -> None:
    spec = ray_cluster()["spec"]
    assert spec["rayVersion"] == ray.__version__
    assert spec["authOptions"]["mode"] == "token"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"


def test_what_ray_is_offered_is_there() -> None:
    """CPUs and GPUs that Ray counts are requested of Kubernetes; memory is given whole, or the kernel ends it early."""
    for name, group in groups():
        resources = group["template"]["spec"]["containers"][0]["resources"]
        start = group["rayStartParams"]
        assert int(start["num-cpus"]) <= int(resources["requests"]["cpu"]), name
        assert int(start.get("num-gpus", 0)) == int(resources["limits"].get("nvidia.com/gpu", 0)), name
        assert resources["requests"]["memory"] == resources["limits"]["memory"], name
        assert int(str(resources["limits"]["memory"]).removesuffix("Gi")) >= 16, name


@pytest.mark.parametrize("name", JOBS)
def test_a_job_waits_on_a_safe_machine_and_begins_again(name: str) -> None:
    job = ray_job(name)["spec"]
    on_the_head = not {"entrypointNumCpus", "entrypointNumGpus", "entrypointResources"} & job.keys()
    assert on_the_head, "Ray sends an entrypoint with resources to a worker"
    head = job["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["nodeSelector"] == {"comit-ray/pool": "stable"}
    assert head["template"]["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert job["backoffLimit"] >= 1
    assert job["shutdownAfterJobFinishes"] is True


def test_a_night_is_what_a_screen_is_and_its_commands_are_the_jobs_own() -> None:
    """KubeRay's schedule does not wait for the night before: the lease of the output does (one_driver)."""
    spec = nightly()["spec"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", spec["schedule"])
    screen, night = ray_job("screen")["spec"], spec["jobTemplate"]
    differing = {key for key in screen.keys() | night.keys() if screen.get(key) != night.get(key)}
    assert differing == {"entrypoint", "backoffLimit", "activeDeadlineSeconds"}
    assert night["activeDeadlineSeconds"] < 24 * 3600
    shell, _, script = shlex.split(night["entrypoint"])
    assert shell == "bash"
    steps = re.split(r"\s*(?:&& if|; then|; else|; false; fi)\s+", f"{script.strip()} ")
    commands = [shlex.split(step) for step in steps if step]
    names = [Path(words[1]).stem for words in commands]
    assert names == ["manifest", "screen", "monitor", "monitor"]
    assert commands[2] == commands[3]
    for name, words in zip(names, commands, strict=True):
        JOBS_BY_NAME[name].config.model_validate(options.read(JOBS_BY_NAME[name].config, words[2:]).values)
    assert "--update" in commands[0]


def test_a_night_on_a_pacs_is_the_night_with_commands_of_its_own() -> None:
    """No second try on the same day: the manifest of that night is there, and the next night reaches back.

    The submitter's bash keeps what stands in single quotes, and Ray quotes the words again (`shlex.join`).
    """
    [patch] = documents("jobs/nightly-pacs/kustomization.yaml")[0]["patches"]
    assert patch["target"] == {"kind": "RayCronJob", "name": nightly()["metadata"]["name"]}
    changed = {one["path"]: one["value"] for one in yaml.safe_load(patch["patch"])}
    assert set(changed) == {"/metadata/name", *(f"/spec/jobTemplate/{name}" for name in ("backoffLimit", "entrypoint"))}
    program, option, inside = shlex.split(changed["/spec/jobTemplate/entrypoint"].replace("ORTHANC", "orthanc.example"))
    assert (program, option) == ("bash", "-c"), "one command, with all others inside"
    commands = [shlex.split(command.replace("$(date -u +%F)", "2026-11-30")) for command in inside.split(" && ")]
    names = [Path(words[1]).stem for words in commands]
    assert names == ["manifest", "screen", "export"]
    for name, words in zip(names, commands, strict=True):
        assert any("/2026-11-30/" in word for word in words), "a night has an output of its own"
        JOBS_BY_NAME[name].config.model_validate(options.read(JOBS_BY_NAME[name].config, words[2:]).values)


@pytest.mark.parametrize("name", ["nightly", *JOBS])
def test_an_entrypoint_is_one_command_of_the_shell(name: str) -> None:
    """KubeRay puts it behind `ray job submit ... --` as it is: what follows a bare && would run in another pod."""
    job = nightly()["spec"]["jobTemplate"] if name == "nightly" else ray_job(name)["spec"]
    words = list(shlex.shlex(job["entrypoint"], posix=True, punctuation_chars=True))
    assert not {"&&", "||", ";", "|", "&"} & set(words)


@pytest.mark.parametrize(
    ("ends", "ran", "status"),
    [
        ({}, ["manifest", "screen", "monitor"], 0),
        ({"screen": 1}, ["manifest", "screen", "monitor"], 1),
        ({"monitor": 1}, ["manifest", "screen", "monitor"], 1),
        ({"screen": 1, "monitor": 1}, ["manifest", "screen", "monitor"], 1),
        ({"manifest": 1}, ["manifest"], 1),
    ],
)
def test_a_night_is_watched_however_its_screen_ends(
    ends: dict[str, int], ran: list[str], status: int, tmp_path: Path
) -> None:
    """As Ray runs it: the words joined by `list2cmdline` (`ray job submit`), for a shell (the job's supervisor)."""
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nname=$(basename "$1" .py)\necho "$name" >> {tmp_path}/ran\n. {tmp_path}/$name 2>/dev/null\n'
    )
    (tmp_path / "python").chmod(0o755)
    for name in ("manifest", "screen", "monitor"):
        (tmp_path / name).write_text(f"exit {ends.get(name, 0)}\n")
    command = subprocess.list2cmdline(shlex.split(nightly()["spec"]["jobTemplate"]["entrypoint"]))
    done = subprocess.run(command, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (tmp_path / "ran").read_text().split() == ran
    assert done.returncode == status


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, whose kustomize is asked, is not installed")
@pytest.mark.parametrize("name", ["base", "jobs/nightly", *(f"jobs/{job}" for job in JOBS)])
def test_kustomize_gives_what_is_checked_here(name: str) -> None:
    built = subprocess.run(["kubectl", "kustomize", str(CLUSTER / name)], capture_output=True, text=True, check=True)
    made = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(built.stdout)}
    wanted = {(item["kind"], item["metadata"]["name"]): item for item in base()}
    if name != "base":
        wanted.pop(("RayCluster", "comit-ray"))
        job = nightly() if name == "jobs/nightly" else ray_job(name.removeprefix("jobs/"))
        wanted[job["kind"], job["metadata"]["name"]] = job
    assert made == wanted


def test_the_operator_that_is_asked_for_is_the_documented_one() -> None:
    assert re.search(r"v1\.7\.0", FIELDS["source"])
    assert "KubeRay 1.7" in (CLUSTER / "base" / "raycluster.yaml").read_text()

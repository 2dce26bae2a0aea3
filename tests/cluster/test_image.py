"""The image: pinned, of a person who is not root, with the versions that the tests ran with."""

import fnmatch
import re
import subprocess
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cluster.manifests import CLUSTER, ray_cluster
from tests.conftest import REPOSITORY

LINES = re.sub(r"\\\n", " ", (CLUSTER / "Dockerfile").read_text()).splitlines()
CODE = [line for line in LINES if line and not line.startswith("#")]
PINNED = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split())
NAMES = {canonicalize_name(name): version for name, version in PINNED.items()}


def test_every_install_is_held_by_the_constraints() -> None:
    installs = [line for line in CODE if "pip install" in line]
    assert len(installs) == 4
    for line in installs:
        assert "--constraint constraints.txt" in line or "--no-deps --force-reinstall ." in line
    indexes = {word for line in CODE for word in line.split() if word.startswith("http")}
    assert indexes == {"https://download.pytorch.org/whl/cpu"}


def test_the_base_is_pinned_and_python_is_one_we_support() -> None:
    arguments = dict(
        line.removeprefix("ARG ").split("=", 1) for line in CODE if line.startswith("ARG ") and "=" in line
    )
    assert re.fullmatch(r"3\.11\.\d+-slim-bookworm", arguments["PYTHON"])
    assert [line.split()[1] for line in CODE if line.startswith("FROM ")] == [
        "python:${PYTHON}",
        "base",
        "base",
        "base",
        "torch-${VARIANT}",
    ]
    assert arguments["VARIANT"] in ("cpu", "cuda", "cpu-screen")


def test_it_runs_as_the_user_of_the_pods() -> None:
    users = [line.split()[1] for line in CODE if line.startswith("USER ")]
    (context,) = {
        (group["runAsUser"], group["runAsGroup"])
        for group in [
            ray_cluster()["spec"]["headGroupSpec"]["template"]["spec"]["securityContext"],
            *(g["template"]["spec"]["securityContext"] for g in ray_cluster()["spec"]["workerGroupSpecs"]),
        ]
    }
    assert users == ["{}:{}".format(*context)]
    assert any("useradd --uid 1000" in line for line in CODE)


def copied() -> set[str]:
    return {word for line in CODE if line.startswith("COPY ") for word in line.split()[1:-1]}


def test_what_is_copied_is_all_that_docker_is_sent() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied()
    assert all((REPOSITORY / name).exists() for name in copied())
    assert any(fnmatch.fnmatch("jobs/__pycache__", rule) for rule in rules)


def test_constraints_hold_what_a_cluster_needs_beyond_the_tests() -> None:
    """Dashboard and job server: whatever ray[default] asks for, here."""
    asked = [Requirement(text) for text in requires("ray") or ()]
    marked = [(one, one.marker) for one in asked if one.marker is not None]
    needed = [one for one, marker in marked if "default" in str(marker) and marker.evaluate({"extra": "default"})]
    assert len(needed) >= 10
    for one in needed:
        version = NAMES.get(canonicalize_name(one.name))
        assert version is not None, f"{one.name} is not in constraints.txt"
        assert one.specifier.contains(version, prereleases=True), one


def test_tags_are_of_this_version() -> None:
    version = re.search(r'^version = "(.*)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    images = set(re.findall(r"REGISTRY/comit-ray:(\S+)-(?:cpu-screen|cpu|cuda)", "\n".join(everything())))
    assert images == {version[1]}


def everything() -> list[str]:
    files = [path for path in CLUSTER.rglob("*") if path.suffix in (".yaml", ".md")]
    return [path.read_text() for path in [*files, CLUSTER / "Dockerfile"]]


def test_what_the_screening_image_lacks_no_screen_through_openvino_imports() -> None:
    """Nor what makes a manifest, verifies and exports."""
    (line,) = [line for line in CODE if "left_out = " in line]
    found = re.search(r"left_out = \((.*?)\)", line)
    assert found
    names = {"scikit-learn": "sklearn"}
    absent = [names.get(name, name) for name in re.findall(r"'([^']+)'", found[1])]
    assert {"torch", "torchvision"} <= set(absent)
    script = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import comit_ray.chunks.verifying, comit_ray.command.screen_archive, comit_ray.dicom.run_export
import comit_ray.inference.openvino_model, comit_ray.prepare.run_manifest, comit_ray.screening.drift
import comit_ray.screening.predictor, comit_ray.screening.run_screen
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

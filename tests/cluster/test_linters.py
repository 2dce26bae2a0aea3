"""Kubernetes' own schemas and Docker's linter, where they are installed: `make lint-cluster` installs them."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.manifests import CLUSTER, base, documents, templates

HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
KUBERNETES = "1.33"


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="install the extra cluster-lint")
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("document", [*base(), *documents("secrets.example.yaml")], ids=lambda d: d["metadata"]["name"])
def test_kubernetes_knows_every_field(document: dict[str, Any]) -> None:
    if document["apiVersion"] == "ray.io/v1":
        pytest.skip("not Kubernetes' own: test_kuberay.py")
    validate(document)


@pytest.mark.parametrize("name", templates())
def test_kubernetes_knows_every_field_of_a_pod(name: str) -> None:
    template = templates()[name]
    metadata = template["metadata"] | {"name": "pod"}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})


def test_a_wrong_field_is_seen() -> None:
    template = templates()["head"]
    wrong = template["spec"] | {"nodeSelektor": {}}
    with pytest.raises(Exception, match="nodeSelektor"):
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": wrong})


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: install the extra cluster-lint")
def test_the_dockerfile_is_clean() -> None:
    done = subprocess.run([str(HADOLINT), str(CLUSTER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")

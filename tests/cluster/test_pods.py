"""Pods, secrets and network policies: who may do what."""

import re
from typing import Any

import pytest
import yaml

from tests.cluster.manifests import CLUSTER, base, documents, groups, ray_cluster, ray_job, templates
from tests.conftest import REPOSITORY

NAMESPACE = "comit-ray"
OURS = {"kubernetes.io/metadata.name": NAMESPACE}
POLICIES = documents("base/network-policy.yaml")
TEMPLATES = templates()
NODES = [name for name, _ in groups()]
TYPES = ("node", "submitter")


def test_everything_lies_in_the_namespace() -> None:
    for document in [*base(), *documents("secrets.example.yaml")]:
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == NAMESPACE, document["metadata"]["name"]
    (namespace,) = (document for document in base() if document["kind"] == "Namespace")
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_pod_runs_as_root_or_can_become_it(name: str) -> None:
    spec = TEMPLATES[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] >= 1000
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    contexts = [container["securityContext"] for container in spec["containers"]]
    contexts.append(ray_cluster()["spec"]["autoscalerOptions"]["securityContext"])
    for context in contexts:  # the namespace's level `restricted` wants all four
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_images_are_pinned_and_of_the_right_kind(name: str) -> None:
    (container,) = TEMPLATES[name]["spec"]["containers"]
    kind = "cuda" if name == "predict" else "cpu"
    assert re.fullmatch(rf"REGISTRY/comit-ray:\d+\.\d+\.\d+-{kind}", container["image"])


def test_workers_have_nothing_of_kubernetes_and_accounts_exist() -> None:
    accounts = {item["metadata"]["name"] for item in base() if item["kind"] == "ServiceAccount"}
    for name, template in TEMPLATES.items():
        assert template["spec"]["serviceAccountName"] in accounts, name
        if name != "head":  # whose autoscaler asks for pods
            assert template["spec"]["automountServiceAccountToken"] is False, name


def test_gpus_are_kept_for_those_who_need_them() -> None:
    for name, group in groups():
        spec = group["template"]["spec"]
        tolerated = {toleration["key"] for toleration in spec.get("tolerations", ())}
        assert tolerated == ({"nvidia.com/gpu"} if name == "predict" else set()), name
    pools = [group["template"]["spec"]["nodeSelector"]["comit-ray/pool"] for _, group in groups()]
    assert pools == ["stable", "decode", "gpu"]


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [str(value)]


OBJECT_STORAGE, DICOMWEB = "object-storage", "dicomweb"
MOUNTED = {OBJECT_STORAGE: "comit-object-storage", DICOMWEB: "comit-dicomweb-certificates"}
SECRET_NAME = re.compile(r"TOKEN|PASSWORD|SECRET|_KEY$|ACCESS_KEY")


def test_secrets_are_referred_to_and_never_written() -> None:
    known = {item["metadata"]["name"]: set(item["stringData"]) for item in documents("secrets.example.yaml")}
    assert known[ray_cluster()["spec"]["authOptions"]["secretName"]] == {"auth_token"}  # the key that KubeRay reads
    used = {"comit-ray-token"}
    for name, template in TEMPLATES.items():
        spec = template["spec"]
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                if SECRET_NAME.search(variable["name"]):
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in known[reference["name"]], name
                    used.add(reference["name"])
            used.update(source["secretRef"]["name"] for source in container.get("envFrom", ()))
            assert not {"args", "command"} & container.keys(), name
        used.update(volume["secret"]["secretName"] for volume in spec.get("volumes", ()))
    assert used == set(known)
    for secret in documents("secrets.example.yaml"):
        assert all("REPLACE-ME" in value for value in secret["stringData"].values())


def test_no_command_line_or_environment_of_a_job_holds_a_secret() -> None:
    looks_secret = re.compile(r"AKIA[0-9A-Z]{16}|token|secret|password|access_key", re.IGNORECASE)
    for name in ("train", "sweep", "screen"):
        spec = ray_job(name)["spec"]
        assert not looks_secret.search(spec["entrypoint"])
        assert set(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]) == {"PYTHONUNBUFFERED"}


def test_mounted_keys_are_where_the_environment_says() -> None:
    for name in NODES:
        (container,) = TEMPLATES[name]["spec"]["containers"]
        (where,) = (item["value"] for item in container["env"] if item["name"] == "AWS_SHARED_CREDENTIALS_FILE")
        mounts = {item["name"]: item for item in container["volumeMounts"]}
        volumes = {item["name"]: item["secret"] for item in TEMPLATES[name]["spec"]["volumes"]}
        assert where == f"{mounts[OBJECT_STORAGE]['mountPath']}/credentials"
        assert {volume: secret["secretName"] for volume, secret in volumes.items()} == MOUNTED
        assert mounts.keys() == MOUNTED.keys()
        assert all(mount["readOnly"] is True for mount in mounts.values())
        assert all(secret["optional"] is True for secret in volumes.values())
        # of the group that fsGroup makes the process a member of
        assert all(secret["defaultMode"] == 0o440 for secret in volumes.values())


def test_who_we_are_to_a_pacs_is_known_to_the_pods_that_talk_to_it_alone() -> None:
    """The head's drivers search it, the decoding workers fetch from it and store in it; by variables that we read."""
    known = {item["metadata"]["name"]: set(item["stringData"]) for item in documents("secrets.example.yaml")}
    source = (REPOSITORY / "comit_ray/storage/web.py").read_text()
    assert all(name in source for name in known["comit-dicomweb"])
    for name, template in TEMPLATES.items():
        (container,) = template["spec"]["containers"]
        given = container.get("envFrom", [])
        expected = [{"secretRef": {"name": "comit-dicomweb", "optional": True}}]
        assert given == (expected if name in ("head", "decode") else []), name


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Kubernetes' rule for the two kinds of conditions that are used here."""
    plain = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    listed = all(labels.get(item["key"]) in item["values"] for item in selector.get("matchExpressions", ()))
    return plain and listed


def peer(entry: dict[str, Any], pod: dict[str, str], namespace: dict[str, str]) -> bool:
    if "ipBlock" in entry:
        return False
    here = selects(entry["namespaceSelector"], namespace) if "namespaceSelector" in entry else namespace == OURS
    return here and selects(entry.get("podSelector", {}), pod)


def enters(target: str, port: int, pod: dict[str, str], namespace: dict[str, str] = OURS) -> bool:
    """Whether some policy lets a pod reach a port of the target."""
    labels = TEMPLATES[target]["metadata"]["labels"]
    policies = [policy["spec"] for policy in POLICIES if selects(policy["spec"]["podSelector"], labels)]
    assert any("Ingress" in policy["policyTypes"] for policy in policies), "no policy: everything is open"
    for policy in policies:
        for rule in policy.get("ingress", ()):
            ports = [item["port"] for item in rule.get("ports", ())]
            if (not ports or port in ports) and any(peer(entry, pod, namespace) for entry in rule["from"]):
                return True
    return False


GCS, DASHBOARD, METRICS, CLIENT, AGENT, RAYLET = 6379, 8265, 8080, 10001, 52365, 33333
PORTS = (GCS, DASHBOARD, METRICS, CLIENT, AGENT, RAYLET)


def open_to(target: str, pod: dict[str, str], namespace: dict[str, str] = OURS) -> set[int]:
    return {port for port in PORTS if enters(target, port, pod, namespace)}


@pytest.mark.parametrize("target", NODES)
def test_ports_are_closed_to_all_but_those_who_need_them(target: str) -> None:
    node = TEMPLATES["decode"]["metadata"]["labels"]
    submitter = TEMPLATES["submitter of screen"]["metadata"]["labels"]
    operator = {"app.kubernetes.io/name": "kuberay-operator"}
    dashboard = {DASHBOARD} if target == "head" else set()
    assert open_to(target, node) == set(PORTS)
    assert open_to(target, submitter) == dashboard
    assert open_to(target, operator, {"kubernetes.io/metadata.name": "kuberay-system"}) == dashboard
    assert open_to(target, {}, {"comit-ray/submits": "true"}) == dashboard
    assert open_to(target, {}, {"comit-ray/monitors": "true"}) == {METRICS}
    assert open_to(target, {}) == set()
    assert open_to(target, node, {"kubernetes.io/metadata.name": "elsewhere"}) == set()
    assert open_to(target, {}, {"kubernetes.io/metadata.name": "kuberay-system"}) == set()


NOBODY = "192.0.2.10/32"
"""An address of documentation (RFC 5737)."""


def leaving(name: str) -> list[dict[str, Any]]:
    labels = TEMPLATES[name]["metadata"]["labels"]
    policies = [policy["spec"] for policy in POLICIES if selects(policy["spec"]["podSelector"], labels)]
    assert any("Egress" in policy["policyTypes"] for policy in policies), "no policy: everything is open"
    return [rule for policy in policies for rule in policy.get("egress", ())]


@pytest.mark.parametrize("name", TEMPLATES)
def test_pods_reach_names_storage_and_each_other_alone(name: str) -> None:
    outside, inside = set(), set()
    for rule in leaving(name):
        ports = {item["port"] for item in rule.get("ports", ())}
        for entry in rule["to"]:
            if entry.get("ipBlock") == {"cidr": NOBODY}:
                assert ports == {8042}  # a site's PACS comes here
            elif "ipBlock" in entry:
                assert "169.254.0.0/16" in entry["ipBlock"]["except"]  # the machine's own role
                outside |= ports
            else:
                inside.add((entry["podSelector"]["matchLabels"].get("comit-ray/part", "dns"), tuple(sorted(ports))))
    names = ("dns", (53,))
    if name.startswith("submitter"):
        assert (outside, inside) == (set(), {names, ("node", (DASHBOARD,))})
    else:
        assert inside == {names, ("node", ())}
        assert outside == ({443, 6443} if name == "head" else {443})


def test_policies_select_pods_that_are() -> None:
    for policy in POLICIES:
        selector = policy["spec"]["podSelector"]
        labels = [template["metadata"]["labels"] for template in TEMPLATES.values()]
        assert any(selects(selector, each) for each in labels), policy["metadata"]["name"]
    assert {template["metadata"]["labels"]["comit-ray/part"] for template in TEMPLATES.values()} == set(TYPES)


def test_the_ports_that_the_documentation_lists_are_those_of_the_policies() -> None:
    allowed = {
        item["port"]
        for policy in POLICIES
        for rule in policy["spec"].get("ingress", ())
        for item in rule.get("ports", ())
    }
    assert allowed == {DASHBOARD, METRICS}
    table = (CLUSTER / "README.md").read_text()
    for port in (GCS, DASHBOARD, METRICS, CLIENT, AGENT):
        assert f"| {port} |" in table

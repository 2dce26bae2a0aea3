"""The dashboard asks for metrics that there are, by labels that they have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray.dashboard.modules.metrics.dashboards as of_ray

from comit_ray.chunks.progress import METRICS
from tests.cluster.manifests import CLUSTER, documents, templates

DASHBOARD = json.loads((CLUSTER / "grafana" / "comit-ray.json").read_text())
COUNTERS = {name: set(tags) for name, (_, tags) in METRICS.items()}
"""Names and tags of our counters (ray.util.metrics); Prometheus reads `ray_NAME_total`: Ray puts the first word before
every metric, OpenTelemetry's exporter the last behind every counter."""
EXPORTED = {f"ray_{name}_total": tags for name, tags in COUNTERS.items()}
METRIC = re.compile(r"\b(ray_\w+)(?:\{([^}]*)\})?")


def panels() -> list[dict[str, Any]]:
    return list(DASHBOARD["panels"])


EXPRESSIONS = [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_there(expression: str) -> None:
    asked = METRIC.findall(expression)
    assert asked
    sources = "".join(path.read_text() for path in Path(of_ray.__path__[0]).glob("*_panels.py"))
    by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
    for name, matchers in asked:
        filtered = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers))
        if name in EXPORTED:
            assert filtered | by <= EXPORTED[name]
            assert "step" in filtered, "the choice of the job must hold for every panel"
        else:
            assert re.search(rf"\b{name}\b", sources), f"Ray's own dashboards know no {name}"
    assert expression.count("(") == expression.count(")")


def test_every_counter_is_shown() -> None:
    assert {name for text in EXPRESSIONS for name, _ in METRIC.findall(text) if name in EXPORTED} == set(EXPORTED)


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["description"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_the_choice_of_a_job_comes_from_our_own_counter() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["step"]["definition"] == "label_values(ray_comit_images_total, step)"
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())


def test_prometheus_finds_the_pods_and_no_tag_is_its_own_label() -> None:
    (monitor,) = documents("grafana/podmonitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert not any("job" in tags for tags in COUNTERS.values()), "that label is Prometheus' own"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = {name for name, template in templates().items() if wanted <= template["metadata"]["labels"].items()}
    assert found == {"head", "decode", "predict"}
    for name in found:
        (container,) = templates()[name]["spec"]["containers"]
        assert {"name": endpoint["port"], "containerPort": 8080} in container["ports"]

"""Names the outputs of a network in OpenVINO's form, and imports the library without its usage reports."""

import sys
from types import ModuleType
from typing import Any

from comit_ray.errors import ConfigError
from comit_ray.tables.vocabulary import MASK_TASKS, Task

EMBEDDING, COVID, HEALTH = "embedding", "covid", "health"
"""Outputs of the network: (B, C) embedding and (B, 2) logits; for masks see `mask_output` and `sum_output`."""


def library() -> ModuleType:
    """Imports the package `openvino` without the package that reports every use to its makers.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # None prevents its import
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            f"--backend openvino needs OpenVINO ({error}): pip install 'comit-ray[cpu]', on every machine of the "
            "cluster"
        ) from error
    found: ModuleType = openvino
    return found


def mask_output(task: Task) -> str:
    """Returns the name of a mask's output: (B, H, W), 1 in the foreground."""
    return f"{task}_mask"


def sum_output(task: Task) -> str:
    """Returns the name of the output that tells whether a mask's values are finite: (B,) sum of its log-odds."""
    return f"{task}_sum"


def output_names(tasks: tuple[Task, ...]) -> list[str]:
    """Returns the names of a network's outputs for these heads, in order; those of the branches come first."""
    names = [EMBEDDING]
    names += [name for name, task in ((COVID, Task.COVID), (HEALTH, Task.HEALTH)) if task in tasks]
    return names + [name(task) for task in MASK_TASKS if task in tasks for name in (mask_output, sum_output)]

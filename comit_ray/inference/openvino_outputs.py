"""Names what a network in OpenVINO's form gives, and opens the library itself, without what tells others of its use."""

import sys
from types import ModuleType
from typing import Any

from comit_ray.errors import ConfigError
from comit_ray.tables.vocabulary import MASK_TASKS, Task

EMBEDDING, COVID, HEALTH = "embedding", "covid", "health"
"""Outputs of the network: (B, C) and (B, 2) logits; of a mask see `mask_output` and `sum_output`."""


def library() -> ModuleType:
    """The package `openvino`, without the one that tells its makers of every use.

    Raises:
        ConfigError: it is not installed.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)  # None: it cannot be imported
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
    """Name of the output of a mask: (B, H, W), 1 in the foreground."""
    return f"{task}_mask"


def sum_output(task: Task) -> str:
    """Name of the output that tells whether a mask is of finite numbers: (B,) sum of its log-odds."""
    return f"{task}_sum"


def output_names(tasks: tuple[Task, ...]) -> list[str]:
    """Names of the outputs of a network with these heads, in their order; those of the branches come first."""
    names = [EMBEDDING]
    names += [name for name, task in ((COVID, Task.COVID), (HEALTH, Task.HEALTH)) if task in tasks]
    return names + [name(task) for task in MASK_TASKS if task in tasks for name in (mask_output, sum_output)]

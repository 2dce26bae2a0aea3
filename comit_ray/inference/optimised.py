"""Optimised models beside a checkpoint: what `comit-ray optimise` stores, which of them is chosen, and under which id.

CHECKPOINT/optimised/openvino-int8/
    model.xml, model.bin    the network in OpenVINO's form
    operating_points.json   thresholds chosen for these scores, on the same validation images as the checkpoint's
    temperatures.json       likewise
    record.json             what it was made with, and what was measured; written last, so that half of one is none

A model whose arithmetic differs is another model: its rows have an id of their own, the checkpoint's and the first
digits of the optimised files' hash. A table then never mixes two, and a threshold of one is refused for the other.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from comit_ray.checkpoint import checkpoint_facts, operating_points, temperature
from comit_ray.checkpoint.checkpoint_facts import CheckpointFacts
from comit_ray.chunks.run_record import package_version
from comit_ray.config.config_base import Config
from comit_ray.errors import CheckpointError, ConfigError, NotFoundError
from comit_ray.storage import storage

FOLDER = "optimised"
XML, BIN, RECORD = "model.xml", "model.bin", "record.json"
TORCH, TORCH_FUSED, OPENVINO = "torch", "torch-fused", "openvino"
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
PRECISIONS = (INT8, BFLOAT16, FLOAT32)
"""Of an optimised model."""
Precision = Literal["float32", "bfloat16", "int8"]
INSTRUCTIONS = ("amx_int8", "amx_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp")
"""Flags of a processor that decide how it computes in a lower precision, by Linux's names."""


class OptimisedRecord(Config):
    """`record.json`."""

    backend: Literal["openvino"]
    """What computes."""
    precision: Precision
    """In which arithmetic."""
    model_id: str
    """Of the checkpoint's weights that it was made of."""
    files: dict[str, str]
    """File -> SHA-256, of all files beside this one."""
    versions: dict[str, str]
    """Library -> version that it was made and measured with."""
    instructions: str
    """Instruction sets of the processor that it was measured on, as `instruction_set` gives them."""
    calibrated_on: int
    """Training images that the int8 ranges were taken of; 0: none were needed."""
    measured: dict[str, Any]
    """What differs from the checkpoint in float32 by PyTorch, on the validation split
    (`comit_ray.optimisation.changes`)."""
    bounds: dict[str, float]
    """What it was allowed to differ by."""
    speed: float = Field(gt=0)
    """Images a second over those of PyTorch in float32 on the same machine, as it was measured when it was made."""


def instruction_set() -> str:
    """Those of `INSTRUCTIONS` that this machine has, with + between them; `unknown` where it does not tell."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return "unknown"
    lines = [line for line in path.read_text().splitlines() if line.startswith(("flags", "Features"))]
    flags = set(lines[0].partition(":")[2].split()) if lines else set()
    return "+".join(name for name in INSTRUCTIONS if name in flags) or "unknown"


def computed(backend: str, precision: str) -> dict[str, str]:
    """What decides the arithmetic of an optimised model on this machine; of PyTorch nothing is said, as ever.

    The same file gives other numbers with another version of the library, or on a processor with other instructions.
    """
    if backend == TORCH:
        return {}
    if backend == TORCH_FUSED:
        return {"backend": backend, "precision": precision}
    return {
        "backend": backend,
        "precision": precision,
        "openvino": package_version("openvino") or "not installed",
        "instructions": instruction_set(),
    }


def place(uri: str, precision: str) -> str:
    """URI of the optimised model of a checkpoint."""
    return storage.join(storage.normalise(uri), FOLDER, f"{OPENVINO}-{precision}")


def read_record(uri: str, precision: str) -> OptimisedRecord:
    """What is known of the optimised model.

    Raises:
        ConfigError: there is none; says how to make it.
        CheckpointError: its record cannot be read.
    """
    origin = storage.join(place(uri, precision), RECORD)
    try:
        return OptimisedRecord.model_validate_json(storage.read_bytes(origin))
    except NotFoundError:
        raise ConfigError(
            f"--backend openvino --precision {precision}: {uri} has no such model yet: run comit-ray optimise "
            f"--checkpoint {uri} --data TABLE --precisions {precision}, where TABLE is what its training read"
        ) from None
    except ValidationError as error:
        raise CheckpointError(f"{origin}: not what comit-ray optimise writes: {error}") from None


def there(uri: str) -> list[tuple[str, str]]:
    """Backend and precision of every optimised model beside the checkpoint that can be asked here."""
    known = [name for name in PRECISIONS if storage.exists(storage.join(place(uri, name), RECORD))]
    return [(OPENVINO, name) for name in known] if installed() else []


def read_files(uri: str, precision: str, record: OptimisedRecord) -> dict[str, bytes]:
    """File -> bytes of an optimised model, each as its record says.

    Raises:
        CheckpointError: a file is absent or another one.
    """
    folder = place(uri, precision)
    found = {}
    for name, digest in record.files.items():
        data = checkpoint_facts.read_file(folder, name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"{storage.join(folder, name)} is not the file that was made: run optimise again")
        found[name] = data
    return found


def variant_id(record: OptimisedRecord) -> str:
    """The model's id in tables: the weights', then backend, precision and what was made of them."""
    made_of = "".join(record.files[name] for name in sorted(record.files) if name in (XML, BIN))
    short = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    return f"{record.model_id}-{record.backend}-{record.precision}-{short}"


def fused_id(model_id: str) -> str:
    """The id in tables of a model whose batch norms are folded (`comit_ray.inference.torch_model`)."""
    return f"{model_id}-{TORCH_FUSED}"


def choose(uri: str, backend: str, precision: str | None) -> tuple[str, str, str]:
    """What computes, in which precision, and why: one line for a person.

    Args:
        uri: of the checkpoint.
        backend: `torch`, `torch-fused`, `openvino`, or `auto`: the fastest optimised model beside the checkpoint that
            was within its bounds.
        precision: that is asked for; None: of torch float32, else the fastest.

    Raises:
        ConfigError: it cannot be had.
    """
    if backend in (TORCH, TORCH_FUSED):
        if precision not in (None, FLOAT32):
            raise ConfigError(
                f"--backend {backend} computes in float32, got --precision {precision}: use --backend openvino"
            )
        folded = ", batch norms folded into the convolutions" if backend == TORCH_FUSED else ""
        return backend, FLOAT32, f"PyTorch in float32{folded}"
    if precision is not None and (backend == OPENVINO or precision != FLOAT32):
        speed = read_record(uri, precision).speed
        return OPENVINO, precision, f"OpenVINO in {precision}, {speed:.1f} times PyTorch where it was made"
    there: dict[str, float] = {}
    for name in PRECISIONS if precision is None else (precision,):
        if storage.exists(storage.join(place(uri, name), RECORD)):
            there[name] = read_record(uri, name).speed
    best = max(there, key=lambda name: there[name], default=None)
    if best is None and backend == OPENVINO:
        read_record(uri, INT8)  # says how to make it
    if best is None or (backend != OPENVINO and (there[best] <= 1 or not installed())):
        why = "no optimised model lies beside the checkpoint" if best is None else "no optimised model is faster here"
        if best is not None and not installed():
            why = "OpenVINO is not installed (pip install 'comit-ray[cpu]')"
        return TORCH, FLOAT32, f"PyTorch in float32: {why}"
    return OPENVINO, best, f"OpenVINO in {best}, {there[best]:.1f} times PyTorch where it was made"


def installed() -> bool:
    """Whether OpenVINO is."""
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def facts(uri: str, backend: str, precision: str) -> CheckpointFacts:
    """The facts of the checkpoint as this backend computes it: its own thresholds, temperatures and id.

    Raises:
        CheckpointError: the checkpoint or the optimised model is not whole, or they do not belong together.
        ConfigError: there is no such model.
    """
    known, _ = checkpoint_facts.read_facts(uri)
    if backend == TORCH:
        return known
    if backend == TORCH_FUSED:
        return replace(known, model_id=fused_id(known.model_id))
    record = checked(uri, precision, known.model_id)
    files = read_files(uri, precision, record)
    origin = place(uri, precision)
    return replace(
        known,
        operating_points=operating_points.parse(files[operating_points.FILE], origin=origin),
        temperatures=temperature.parse(files[temperature.FILE], origin=origin),
        model_id=variant_id(record),
    )


def checked(uri: str, precision: str, model_id: str) -> OptimisedRecord:
    """The record of the optimised model, if it was made of these weights.

    Raises:
        CheckpointError: it was made of others.
        ConfigError: there is none.
    """
    record = read_record(uri, precision)
    if record.model_id != model_id:
        raise CheckpointError(
            f"{place(uri, precision)} was made of model {record.model_id}, and the checkpoint is {model_id}: run "
            "comit-ray optimise again"
        )
    return record

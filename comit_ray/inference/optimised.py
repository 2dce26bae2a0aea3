"""Finds optimised models beside a checkpoint: what `comit-ray optimise` stores, which one a run takes, and its id.

CHECKPOINT/optimised/openvino-int8/
    model.xml, model.bin    the network in OpenVINO's form
    operating_points.json   thresholds chosen for these scores, on the same validation images as the checkpoint's
    temperatures.json       temperatures for these scores, on the same images
    record.json             versions and measurements; written last, so that an unfinished model does not count

A model with other arithmetic is another model. Its rows have a separate id: the checkpoint's id and the first digits of
the hash of the optimised files. So no table mixes two models, and a threshold of one is refused for the other.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from comit_ray.checkpoint import checkpoint_facts, operating_points, temperature
from comit_ray.checkpoint.checkpoint_facts import CheckpointFacts
from comit_ray.chunks.run_record import package_version
from comit_ray.config.config_base import Config, Precision
from comit_ray.errors import CheckpointError, ConfigError, NotFoundError
from comit_ray.storage import storage

FOLDER = "optimised"
XML, BIN, RECORD = "model.xml", "model.bin", "record.json"
TORCH, TORCH_FUSED, OPENVINO = "torch", "torch-fused", "openvino"
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
PRECISIONS = (INT8, BFLOAT16, FLOAT32)
"""Precisions that an optimised model may have."""
INSTRUCTIONS = ("amx_int8", "amx_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp")
"""Processor flags, as Linux names them, that decide how the processor computes in a lower precision."""


class OptimisedRecord(Config):
    """The contents of `record.json`."""

    backend: Literal["openvino"]
    """Library that computes the network."""
    precision: Precision
    """Arithmetic of the network."""
    model_id: str
    """Id of the checkpoint's weights from which the model was made."""
    files: dict[str, str]
    """Name -> SHA-256 of each other file in the folder."""
    versions: dict[str, str]
    """Library -> version with which the model was made and measured."""
    instructions: str
    """Instruction sets of the processor on which it was measured, as `instruction_set` returns them."""
    calibrated_on: int
    """Number of training images from which the ranges of int8 come; 0 for other precisions."""
    measured: dict[str, Any]
    """Differences from PyTorch in float32 on the validation split (`comit_ray.optimisation.changes`)."""
    bounds: dict[str, float]
    """Largest differences that were allowed."""
    speed: float = Field(gt=0)
    """Images per second, divided by those of PyTorch in float32 on the machine that made the model."""


def instruction_set() -> str:
    """Returns the names in `INSTRUCTIONS` that this machine has, joined by +; `unknown` if the machine does not say."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return "unknown"
    lines = [line for line in path.read_text().splitlines() if line.startswith(("flags", "Features"))]
    flags = set(lines[0].partition(":")[2].split()) if lines else set()
    return "+".join(name for name in INSTRUCTIONS if name in flags) or "unknown"


def computed(backend: str, precision: str) -> dict[str, str]:
    """Returns the settings that decide the arithmetic of an optimised model on this machine; empty for plain PyTorch.

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
    """Returns the URI of the optimised model of a checkpoint."""
    return storage.join(storage.normalise(uri), FOLDER, f"{OPENVINO}-{precision}")


def read_record(uri: str, precision: str) -> OptimisedRecord:
    """Reads the record of an optimised model.

    Raises:
        ConfigError: there is no such model; the message says how to make it.
        CheckpointError: the record cannot be read.
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
        raise CheckpointError(f"{origin}: expected the record that comit-ray optimise writes: {error}") from None


def there(uri: str) -> list[tuple[str, str]]:
    """Lists backend and precision of each optimised model beside the checkpoint; none if OpenVINO is not installed."""
    known = [name for name in PRECISIONS if storage.exists(storage.join(place(uri, name), RECORD))]
    return [(OPENVINO, name) for name in known] if installed() else []


def read_files(uri: str, precision: str, record: OptimisedRecord) -> dict[str, bytes]:
    """Returns name -> bytes of each file of an optimised model, compared with the hashes of its record.

    Raises:
        CheckpointError: a file is missing, or its hash differs.
    """
    folder = place(uri, precision)
    found = {}
    for name, digest in record.files.items():
        data = checkpoint_facts.read_file(folder, name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(
                f"{storage.join(folder, name)} has another hash than its record says: run comit-ray optimise again"
            )
        found[name] = data
    return found


def variant_id(record: OptimisedRecord) -> str:
    """Returns the model's id in tables: id of the weights, backend, precision, and a hash of the optimised network."""
    made_of = "".join(record.files[name] for name in sorted(record.files) if name in (XML, BIN))
    short = hashlib.sha256(made_of.encode()).hexdigest()[:8]
    return f"{record.model_id}-{record.backend}-{record.precision}-{short}"


def fused_id(model_id: str) -> str:
    """Returns the id in tables of a model whose batch norms are folded (`comit_ray.inference.torch_model`)."""
    return f"{model_id}-{TORCH_FUSED}"


def choose(uri: str, backend: str, precision: str | None) -> tuple[str, str, str]:
    """Chooses backend and precision.

    Args:
        uri: URI of the checkpoint.
        backend: `torch`, `torch-fused`, `openvino`, or `auto`: the fastest optimised model beside the checkpoint that
            was within its bounds and faster than PyTorch, else `torch-fused`.
        precision: precision to use; None means float32 for PyTorch, and the fastest otherwise.

    Returns:
        Backend, precision, and the reason in one line for a person.

    Raises:
        ConfigError: there is no such model.
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
        read_record(uri, INT8)  # its error says how to make the model
    if best is None or (backend != OPENVINO and (there[best] <= 1 or not installed())):
        why = "no optimised model lies beside the checkpoint" if best is None else "no optimised model is faster here"
        if best is not None and not installed():
            why = "OpenVINO is not installed (pip install 'comit-ray[cpu]')"
        return TORCH_FUSED, FLOAT32, f"PyTorch in float32, batch norms folded into the convolutions: {why}"
    return OPENVINO, best, f"OpenVINO in {best}, {there[best]:.1f} times PyTorch where it was made"


def installed() -> bool:
    """Whether OpenVINO is installed."""
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def facts(uri: str, backend: str, precision: str) -> CheckpointFacts:
    """Returns the facts of the checkpoint for this backend, with the model's own thresholds, temperatures and id.

    Raises:
        CheckpointError: a file of the checkpoint or the optimised model is missing or damaged, or they do not belong
            together.
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
    """Returns the record of the optimised model, after checking that it was made from these weights.

    Raises:
        CheckpointError: it was made from other weights.
        ConfigError: there is no such model.
    """
    record = read_record(uri, precision)
    if record.model_id != model_id:
        raise CheckpointError(
            f"{place(uri, precision)} was made from model {record.model_id}, but the checkpoint is {model_id}: run "
            "comit-ray optimise again"
        )
    return record

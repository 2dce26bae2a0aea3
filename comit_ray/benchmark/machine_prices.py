"""The price of a million radiographs on machines that a user lists in a YAML, from what the benchmark measured.

    c7i.4xlarge: {cpus: 16, price_per_hour: 0.80}
    one-gpu:     {cpus: 16, gpus: 1, price_per_hour: 4.50}

Machines are the user's, and so are their prices, in any one currency: none come with the package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from comit_ray.benchmark.projection import Throughput
from comit_ray.chunks.plan import PREDICT
from comit_ray.config.config_base import Config
from comit_ray.errors import ConfigError
from comit_ray.storage import storage

IMAGES = 1_000_000


class Machine(Config):
    """A machine type."""

    cpus: Annotated[float, Field(gt=0)]
    """Cores that Ray may use; those of a machine with hyperthreads are half its virtual CPUs."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Of the kind that was measured on."""
    price_per_hour: Annotated[float, Field(ge=0)]
    """In any currency."""


_MACHINES = TypeAdapter(dict[str, Machine])


@dataclass(frozen=True)
class Price:
    """Of `IMAGES` radiographs on one machine.

    Args:
        machine: its name.
        rate: images a second; None: what was measured does not tell.
        hours: that it takes; None likewise.
        price: in the list's currency; None likewise.
        reason: why it is not told; empty: it is.
    """

    machine: str
    rate: float | None
    hours: float | None
    price: float | None
    reason: str = ""


def read(uri: str) -> dict[str, Machine]:
    """The machines of the YAML at `uri`.

    Raises:
        ConfigError: it is not such a file.
        StorageError: it cannot be read.
    """
    try:
        return _MACHINES.validate_python(yaml.safe_load(storage.read_bytes(uri)))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"--machines {uri}: expected a YAML such as NAME: {{cpus: 16, gpus: 0, price_per_hour: 0.80}}: "
            f"{' '.join(str(error).split())}"
        ) from None


def prices(found: Throughput, machines: Mapping[str, Machine]) -> list[Price]:
    """What each machine costs for `IMAGES` radiographs, the cheapest first.

    On CPUs the rate goes with the cores, as docs/sizing.md shows it. With GPUs a machine does what its cores or its
    GPUs allow, the less of both, times the share of that bound which the measured cluster reached.
    """
    told = [_price(found, name, machine) for name, machine in machines.items()]
    return sorted(told, key=lambda one: (one.price is None, one.price or 0.0))


def _price(found: Throughput, name: str, machine: Machine) -> Price:
    if bool(machine.gpus) != found.gpu:
        kind = "GPUs" if found.gpu else "CPUs alone"
        return Price(name, None, None, None, f"this benchmark ran on {kind}, and this machine has others")
    if found.gpu:
        on_cpus = sum(found.seconds(stage) for stage in found.cpus_time)
        bounds = [machine.gpus / found.seconds(PREDICT), machine.cpus / on_cpus]
        reached = found.whole.rate / min(found.bounds.values())
        rate = min(bounds) * min(1.0, reached)
    else:
        rate = found.whole.rate * machine.cpus / found.cpus
    hours = (found.whole.startup + IMAGES / rate) / 3600
    return Price(name, rate, hours, hours * machine.price_per_hour)


def lines(told: list[Price]) -> list[str]:
    """The prices for a person; nothing where no machine was listed."""
    if not told:
        return []
    said = [f"{'machine':<28}{'images/s':>10}{'hours':>10}{'price':>12}   of a million radiographs (projected)"]
    for one in told:
        if one.rate is None or one.hours is None or one.price is None:
            said.append(f"{one.machine:<28}{'-':>10}{'-':>10}{'-':>12}   {one.reason}")
        else:
            said.append(f"{one.machine:<28}{one.rate:>10.1f}{one.hours:>10.2f}{one.price:>12,.2f}")
    return said

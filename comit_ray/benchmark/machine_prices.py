"""Projects the price of a million radiographs on machines from a user's YAML, by the benchmark's measurements.

    c7i.4xlarge: {cpus: 16, price_per_hour: 0.80}
    one-gpu:     {cpus: 16, gpus: 1, price_per_hour: 4.50}

The user supplies machines and prices, in any one currency; none come with the package.
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
    """Cores that Ray may use; for a machine with hyperthreads half its virtual CPUs."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """Number of GPUs, of the kind that was measured."""
    price_per_hour: Annotated[float, Field(ge=0)]
    """Price per hour, in any currency."""


_MACHINES = TypeAdapter(dict[str, Machine])


@dataclass(frozen=True)
class Price:
    """The price of `IMAGES` radiographs on one machine.

    Attributes:
        machine: name of the machine.
        rate: images per second; None if the measurements do not tell.
        hours: duration in hours; None if unknown.
        price: price in the list's currency; None if unknown.
        reason: why there is no price; empty if there is one.
    """

    machine: str
    rate: float | None
    hours: float | None
    price: float | None
    reason: str = ""


def read(uri: str) -> dict[str, Machine]:
    """Reads the machines of the YAML at `uri`.

    Raises:
        ConfigError: the file is not such a YAML.
        StorageError: the file cannot be read.
    """
    try:
        return _MACHINES.validate_python(yaml.safe_load(storage.read_bytes(uri)))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"--machines {uri}: expected a YAML such as NAME: {{cpus: 16, gpus: 0, price_per_hour: 0.80}}: "
            f"{' '.join(str(error).split())}"
        ) from None


def prices(found: Throughput, machines: Mapping[str, Machine]) -> list[Price]:
    """Returns the price of `IMAGES` radiographs on each machine, the cheapest first.

    On CPUs the rate is proportional to the cores, as docs/sizing.md shows. With GPUs the cores or the GPUs limit a
    machine, whichever allows less; that limit is multiplied by the share of it that the measured cluster reached.
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
    """Returns the prices as lines of text; none if no machine was listed."""
    if not told:
        return []
    said = [f"{'machine':<28}{'images/s':>10}{'hours':>10}{'price':>12}   of a million radiographs (projected)"]
    for one in told:
        if one.rate is None or one.hours is None or one.price is None:
            said.append(f"{one.machine:<28}{'-':>10}{'-':>10}{'-':>12}   {one.reason}")
        else:
            said.append(f"{one.machine:<28}{one.rate:>10.1f}{one.hours:>10.2f}{one.price:>12,.2f}")
    return said

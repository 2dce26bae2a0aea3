"""Options of the reading room: the jobs `review` and `calibrate`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, Fraction, PositiveFloat, PositiveInt
from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.monitor_config import MEMORY_GIB, MemoryGib

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ReviewConfig(Config):
    """Options of `comit-ray review`."""

    results: str
    """Path or URI of a screen's output, whose review queue is read."""
    manifest: str | None = None
    """Path or URI of the manifest that was screened; null: the one that the results' run.json names."""
    invite: str | None = None
    """Name of a reader to make a link for. The link is printed once and not stored. The server does not start."""
    readers: str | None = None
    """Path or URI of a YAML of readers: `readers: [{name: anna}, {name: clara, role: adjudicator}]`. null: everybody
    who has a link reads the whole queue."""
    double: Fraction = 0.2
    """Share of the queue that two readers read, if the YAML has two. An adjudicator decides where they differ."""
    blind: bool = False
    """Hide scores, flags, reasons, masks and heat maps of all images, and show the images in a random order."""
    findings: str | None = None
    """Path or URI of a YAML of findings to tick: `findings: [{code: effusion, words: Pleural effusion}]`; null: the
    page's own list."""
    viewer: str | None = None
    """URL of the site's own viewer, with {study} in place of the study's UID, such as
    "https://viewer.example/viewer?StudyInstanceUIDs={study}". The page links to it for images that came from a PACS
    and whose model result is not hidden. null: no link."""
    zones: bool = True
    """Offer a severity of 0 to 3 for each of six lung zones, as in the Brixia score."""
    host: str = "127.0.0.1"
    """Address to listen on. To listen beyond this machine, give --certificate and --key, or --trust_header behind a
    proxy."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8642
    """Port to listen on; 0: any free port."""
    certificate: str | None = None
    """File with the TLS certificate (PEM)."""
    key: str | None = None
    """File with the certificate's private key (PEM)."""
    trust_header: Annotated[str | None, ADVANCED] = None
    """Header in which a proxy states the reader's name after it has checked who it is. The server then asks for no
    token."""
    proxies: Annotated[tuple[str, ...], ADVANCED] = ("127.0.0.1", "::1")
    """Addresses of proxies whose --trust_header is accepted. Requests from other addresses are refused."""
    token_days: Annotated[PositiveInt, ADVANCED] = 30
    """Number of days that a reader's link is valid."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Limits for images."""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("--certificate and --key are needed together: the certificate and its private key")
        if self.host not in LOOPBACK and not self.certificate and not self.trust_header:
            raise ValueError(
                f"--host {self.host} can be reached from other machines, and radiographs would cross the network "
                "unencrypted: give --certificate and --key, or --trust_header behind a proxy that has them"
            )
        return self


class CalibrateConfig(Config):
    """Options of `comit-ray calibrate`."""

    results: str
    """Path or URI of a screen's output with a reviews/ table of verdicts."""
    output: str
    """Path or URI for thresholds.csv, operating_points.json and calibration.json."""
    manifest: str | None = None
    """Path or URI of the manifest that was screened; null: the one that the results' run.json names."""
    score: Literal["covid", "unhealthy"] = "covid"
    """The score that gets a threshold. For covid, a verdict is positive if the appearance is typical of COVID-19; for
    unhealthy, if the image is abnormal."""
    tests: str | None = None
    """Path or URI of a table of confirmatory tests (CSV or Parquet: image_id, result of 1 or 0), instead of
    verdicts."""
    tests_sampling: Literal["queue", "all"] = "queue"
    """Which images were tested: queue, those of the queue (its sampling weights are used); or all, all images alike."""
    sensitivity: Fraction | None = 0.95
    """Sensitivity that the recommended operating point must reach; null: the capacity decides."""
    capacity: PositiveInt | None = None
    """Number of images of this archive that can be read. If given, it decides instead of the sensitivity."""
    name: Annotated[str, ADVANCED] = "site"
    """Name of the operating point in the file, for `screen --operating_point NAME`."""
    cost_screened: Annotated[float, Field(ge=0)] = 0.0
    """Cost of screening one image, in any currency."""
    cost_read: Annotated[float, Field(ge=0)] = 1.0
    """Cost of one reading or confirmatory test, in the same currency."""
    steps: Annotated[PositiveInt, ADVANCED] = 200
    """Largest number of thresholds in the table. If there are more different scores, evenly spaced ones are taken."""
    draws: Annotated[PositiveInt, ADVANCED] = 1000
    """Number of draws of patients for the intervals."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draws."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory that the tables may take; what does not fit goes to disk (TMPDIR)."""
    minimum_positives: Annotated[PositiveFloat, ADVANCED] = 10
    """Smallest number of positive images, weighted for the archive, for which an operating point is recommended."""

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if self.sensitivity is None and self.capacity is None:
            raise ValueError("give --sensitivity or --capacity: what the threshold is to reach")
        return self

"""Options of the reading room: the jobs `review` and `calibrate`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from comit_ray.config.config_base import ADVANCED, Config, Fraction, PositiveFloat, PositiveInt
from comit_ray.config.image_config import DecodeLimits

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ReviewConfig(Config):
    """`jobs/review.py`."""

    results: str
    """URI of a screening run's output; its review queue is read."""
    manifest: str | None = None
    """URI of the manifest that was screened; null: the one that the results' run.json names."""
    invite: str | None = None
    """Name of a reader to make a link for; the server does not start. The link is printed once and kept nowhere."""
    readers: str | None = None
    """URI of a YAML of readers: `readers: [{name: anna}, {name: clara, role: adjudicator}]`; null: whoever is invited
    reads the whole queue."""
    double: Fraction = 0.2
    """Share of the queue that two readers read, where the YAML has two; disagreements go to an adjudicator."""
    blind: bool = False
    """Hide scores, flags, reasons, masks and heat maps, and show the images in an order drawn by hash."""
    findings: str | None = None
    """URI of a YAML of findings to tick: `findings: [{code: effusion, words: Pleural effusion}]`; null: ours."""
    viewer: str | None = None
    """URL of the site's own viewer with {study} where the UID of the study belongs, such as
    "https://viewer.example/viewer?StudyInstanceUIDs={study}": the page links to it where the image came from a PACS and
    the model's opinion is not hidden. null: no link."""
    zones: bool = True
    """Offer a severity of 0 to 3 for each of six lung zones, as the Brixia score has it."""
    host: str = "127.0.0.1"
    """Address to listen on. Beyond this machine only with --certificate and --key, or behind --trust_header."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8642
    """Port to listen on; 0: any that is free."""
    certificate: str | None = None
    """File of the TLS certificate (PEM)."""
    key: str | None = None
    """File of its private key (PEM)."""
    trust_header: Annotated[str | None, ADVANCED] = None
    """Header in which a proxy gives the reader's name after it has checked who it is; no token is asked for then."""
    proxies: Annotated[tuple[str, ...], ADVANCED] = ("127.0.0.1", "::1")
    """Addresses of the proxies whose --trust_header is believed; requests of any other are refused."""
    token_days: Annotated[PositiveInt, ADVANCED] = 30
    """Days that a reader's link is valid."""
    decode: Annotated[DecodeLimits, ADVANCED] = DecodeLimits()
    """Bounds on images."""

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
    """`jobs/calibrate.py`."""

    results: str
    """URI of a screening run's output with a reviews/ table of verdicts."""
    output: str
    """URI to write thresholds.csv, operating_points.json and calibration.json to."""
    manifest: str | None = None
    """URI of the manifest that was screened; null: the one that the results' run.json names."""
    score: Literal["covid", "unhealthy"] = "covid"
    """The score whose threshold is sought; a verdict is positive for it if COVID-like (typical), or if abnormal."""
    tests: str | None = None
    """URI of a table of confirmatory tests (CSV or Parquet: image_id, result of 1 or 0), instead of verdicts."""
    tests_sampling: Literal["queue", "all"] = "queue"
    """Whom the tests were offered to: images of the queue (its sampling weights are used), or all images alike."""
    sensitivity: Fraction | None = 0.95
    """Sensitivity wanted of the recommended operating point; null: a capacity decides."""
    capacity: PositiveInt | None = None
    """Images of this archive that can be read; given, it decides instead of the sensitivity."""
    name: Annotated[str, ADVANCED] = "site"
    """Name of the operating point in the file; `screen --operating_point NAME` takes it."""
    cost_screened: Annotated[float, Field(ge=0)] = 0.0
    """Cost of screening one image, in any currency."""
    cost_read: Annotated[float, Field(ge=0)] = 1.0
    """Cost of one reading or confirmatory test, in the same currency."""
    steps: Annotated[PositiveInt, ADVANCED] = 200
    """Most thresholds in the table; with more different scores, evenly spaced ones among them."""
    draws: Annotated[PositiveInt, ADVANCED] = 1000
    """Draws of patients for the intervals."""
    seed: Annotated[int, ADVANCED] = 0
    """Seed of the draws."""
    minimum_positives: Annotated[PositiveFloat, ADVANCED] = 10
    """Fewest positive images, as they stand for the archive, of which an operating point is recommended."""

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if self.sensitivity is None and self.capacity is None:
            raise ValueError("give --sensitivity or --capacity: what the threshold is to reach")
        return self

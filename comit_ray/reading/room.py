"""The logic of the reading room without HTTP: assignment, what a reader may see, and verdicts."""

import threading
import time
from importlib import resources
from typing import Any

import yaml
from pydantic import Field

from comit_ray.config.config_base import Config
from comit_ray.config.reading_config import ReviewConfig
from comit_ray.errors import ConfigError, Status
from comit_ray.reading.cases import Case, Known, Screen
from comit_ray.reading.events import EventLog
from comit_ray.reading.overlays import Overlays
from comit_ray.reading.reader_deal import Deal, Role
from comit_ray.reading.store import Reviews, Verdict
from comit_ray.reading.values import Images, Opened
from comit_ray.screening.results_folder import in_words
from comit_ray.storage import storage, web

LOOK_AGAIN = 5.0
"""Seconds after which the server looks again for verdicts that other servers stored."""
_MINE = ("verdict", "category", "findings", "zones", "confidence", "comment")
_MODEL = ("p_covid", "p_unhealthy", "p_other", "covid_flag", "disease_in_lung", "calibration", "operating_point")


class Finding(Config):
    """A finding that a reader can tick."""

    code: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    """The finding as it stands in the table."""
    words: str = Field(max_length=80)
    """The finding as the page shows it."""


class FindingsFile(Config):
    """Content of the file of `--findings`."""

    findings: tuple[Finding, ...]
    """The findings in the order in which the page shows them."""


class Room:
    """The reading of one screen: what each reader may see, and where verdicts go.

    Methods that take a reader's name check what this reader may see.

    Args:
        screen: the cases that are read.
        deal: the assignment of images to readers.
        config: options of the job.

    Raises:
        ConfigError: the file of findings or the viewer's URL is not valid.
    """

    def __init__(self, screen: Screen, deal: Deal, config: ReviewConfig) -> None:
        if config.viewer is not None:
            web.viewer_link(config.viewer, screen.results)  # refuses a wrong URL now, not at the first image
        self.screen, self.deal, self.config = screen, deal, config
        self.reviews = Reviews(screen.results)
        self.events = EventLog(screen.results, {"model_id": screen.model_id, "run_id": screen.run_id})
        self.images = Images(config.decode)
        self.overlays = Overlays(screen.results)
        self.findings = read_findings(config.findings)
        self._cases_of: dict[str, list[Case]] = {}
        for case in screen.cases.values():
            if case.known.row["patient_id"] is not None:
                self._cases_of.setdefault(case.known.row["patient_id"], []).append(case)
        self._looked = time.monotonic()
        self._sent: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def me(self, reader: str) -> dict[str, Any]:
        """Return what the page needs once, when it opens."""
        return {
            "reader": reader,
            "blind": self.config.blind,
            "zones": self.config.zones,
            "findings": [one.model_dump() for one in self.findings.findings],
            "model_id": self.screen.model_id,
        }

    def worklist(self, reader: str) -> list[dict[str, Any]]:
        """List every image of the queue in reading order.

        Of an image that is another reader's, the list shows its place only.
        """
        self._look_again()
        rows = []
        for place, case in enumerate(self.screen.cases.values(), 1):
            verdicts = self.reviews.on_image(case.image_id)
            role = self.deal.role(reader, case.key, case.image_id, verdicts)
            row: dict[str, Any] = {"place": place, "role": role}
            if role is not None:
                mine = verdicts.get(reader)
                row |= {"image_id": case.image_id, "status": case.queued["status"], "hidden": case.hidden}
                row |= {"reasons": case.reasons, "block": case.block, "verdict": mine["verdict"] if mine else None}
                row |= {"seconds": mine["seconds"] if mine else None}
                row |= {"score": None if case.hidden else _plain(case.queued["score"])}
            rows.append(row)
        return rows

    def case(self, reader: str, image_id: str) -> dict[str, Any] | None:
        """Return what the page shows of an image; None if the image is not this reader's."""
        case, role = self._mine(reader, image_id)
        if case is None or role is None:
            return None
        verdicts = self.reviews.on_image(image_id)
        queued, row = case.queued, case.known.row
        found: dict[str, Any] = {"image_id": image_id, "role": role, "hidden": case.hidden, "status": queued["status"]}
        found |= {name: _plain(row[name]) for name in ("view", "age", "sex", "acquired_on")}
        # In words, because a detail may name a path, and a path may name the diagnosis.
        why = None if queued["reason"] is None else in_words(queued["reason"])
        found |= {"reason": queued["reason"], "detail": why, "reasons": case.reasons}
        found["beside"] = [self._neighbour(one) for one in case.beside]
        found["mine"] = {name: verdicts[reader][name] for name in _MINE} if reader in verdicts else None
        found["overlays"] = []
        if not case.hidden and queued["status"] == Status.OK:
            found["overlays"] = self.overlays.kinds(image_id, case.part)
            found["outline"] = self.overlays.outline(image_id, case.part)
            found["model"] = {name: queued[name] for name in _MODEL} | {"flag_trusted": queued.get("flag_trusted")}
            found["model"] |= {name: case.predicted[name] for name in ("unhealthy_flag", "zone_disease")}
        if self.config.viewer is not None and not case.hidden:
            # A PACS may show the model's masks there, so there is no link for an image whose result is hidden.
            found["viewer"] = web.viewer_link(self.config.viewer, str(row["uri"]))
        if role == "adjudicator":
            two = self.deal.shown_to_adjudicator(reader, verdicts)
            found["others"] = [{name: one[name] for name in ("reader", *_MINE)} for one in two.values()]
        return found

    def opened(self, reader: str, image_id: str) -> Opened | None:
        """Return the decoded image; None if the reader may not see it.

        The event log records the sending before the image is returned.

        Raises:
            DecodeError: the file cannot be shown.
            StorageError: the event cannot be stored.
        """
        known = self._visible(reader, image_id)
        if known is None:
            return None
        found = self.images.open(image_id, known.place)
        with self._lock:
            new = (reader, image_id) not in self._sent
        if new:
            self.events.write("image_sent", reader, image_id=image_id)
            with self._lock:
                self._sent.add((reader, image_id))
        return found

    def overlay(self, reader: str, image_id: str, kind: str) -> bytes | None:
        """Return an overlay as an RGBA PNG; None if there is none, or the reader may not see it."""
        case, role = self._mine(reader, image_id)
        if case is None or role is None or case.hidden or kind not in self.overlays.kinds(image_id, case.part):
            return None
        radiograph = self.images.open(image_id, case.known.place).radiograph
        return self.overlays.picture(image_id, case.part, kind, radiograph.height, radiograph.width)

    def zones(self, reader: str, image_id: str) -> dict[str, Any] | None:
        """Return where the lung zones lie (see `Overlays.zones`).

        It is None if the zones are not known, the image is not this reader's, or the model's masks are hidden.
        """
        case, role = self._mine(reader, image_id)
        if case is None or role is None or case.hidden:
            return None
        radiograph = self.images.open(image_id, case.known.place).radiograph
        return self.overlays.zones(image_id, case.part, radiograph.height, radiograph.width)

    def shown(self, reader: str, image_id: str) -> bool:
        """Record that the page shows the image now. The result is False if the reader may not see it."""
        if self._visible(reader, image_id) is None:
            return False
        self.events.write("image_shown", reader, image_id=image_id)
        return True

    def judge(self, reader: str, verdict: Verdict) -> dict[str, Any] | None:
        """Store a verdict, and return once the verdict and its event are stored.

        Returns:
            The stored row, or None if the image is not this reader's.

        Raises:
            StorageError: the verdict or its event cannot be stored.
            ConfigError: a finding is not on the list.
        """
        case, role = self._mine(reader, verdict.image_id)
        if case is None or role is None:
            return None
        unknown = sorted(set(verdict.findings) - {one.code for one in self.findings.findings})
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is not on the list of findings")
        facts: dict[str, Any] = {"role": role, "blinded": case.hidden}
        facts |= {"model_id": self.screen.model_id, "run_id": self.screen.run_id}
        row = self.reviews.put(reader, verdict, facts)
        more = {"image_id": verdict.image_id, "revision": row["revision"], "verdict": row["verdict"]}
        self.events.write("verdict", reader, **more)
        return row

    def _mine(self, reader: str, image_id: str) -> tuple[Case | None, Role | None]:
        case = self.screen.cases.get(image_id)
        if case is None:
            return None, None
        verdicts = self.reviews.on_image(image_id)
        role = self.deal.role(reader, case.key, image_id, verdicts)
        return case, role

    def _visible(self, reader: str, image_id: str) -> Known | None:
        """The image, if it is this reader's, or another radiograph of one of this reader's patients."""
        known = self.screen.known(image_id)
        if known is None:
            return None
        case, role = self._mine(reader, image_id)
        if case is not None and role is not None:
            return known
        for other in self._cases_of.get(str(known.row["patient_id"]), ()):
            verdicts = self.reviews.on_image(other.image_id)
            if self.deal.role(reader, other.key, other.image_id, verdicts) is not None:
                return known
        return None

    def _neighbour(self, image_id: str) -> dict[str, Any]:
        known = self.screen.known(image_id)
        assert known is not None, image_id
        return {"image_id": image_id} | {name: _plain(known.row[name]) for name in ("acquired_on", "view")}

    def _look_again(self) -> None:
        with self._lock:
            due = time.monotonic() - self._looked >= LOOK_AGAIN
            if due:
                self._looked = time.monotonic()
        if due:
            self.reviews.refresh()


def read_findings(uri: str | None) -> FindingsFile:
    """Read the list of findings from a YAML file, or the page's own list if none is given.

    Raises:
        ConfigError: the file does not list findings in the expected form.
        StorageError: the file cannot be read.
    """
    own = resources.files("comit_ray.reading").joinpath("page", "findings.yaml")
    data = own.read_bytes() if uri is None else storage.read_bytes(uri)
    origin = uri or "findings.yaml"
    try:
        return FindingsFile.parse(yaml.safe_load(data), origin=origin)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: expected YAML, got {' '.join(str(error).split())}") from None


def _plain(value: Any) -> Any:
    """Return the value in a form that JSON can hold."""
    return value if value is None or isinstance(value, int | float | str | bool) else str(value)

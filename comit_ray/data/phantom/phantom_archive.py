"""Makes a synthetic archive as a hospital might send it: patients, studies, file formats, broken files.

    images/<patient>/<stem>.dcm|.png|.jpg   the radiographs
    lung_masks/<stem>.png                   lungs, 8 bit, 0 or 255, in the image's size; not for every image
    disease_masks/<stem>.png                lesions in the same form; for some of the diseased images only
    labels.csv                              `COLUMNS`, one line per file, written last; blank means unknown

Format, size and missing masks are drawn independently of the class.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from comit_ray.data.phantom.phantom_broken import TROUBLEMAKERS, Troublemaker
from comit_ray.data.phantom.phantom_drawing import Phantom, PhantomKind, draw
from comit_ray.data.phantom.phantom_files import FORMATS, Header, encode, save_image, suffix
from comit_ray.errors import ConfigError, Reason
from comit_ray.storage import storage

COLUMNS = (
    *("file", "patient", "study", "view", "sex", "age", "covid", "unhealthy", "other", "findings"),
    *("site", "device", "date"),
)
DEVICES = {
    "North": (("Phantom", "Fixed 1"), ("Phantom", "Mobile 1")),
    "South": (("Phantom", "Fixed 2"),),
    "Lake": (("Example", "Mobile 2"), ("Example", "Fixed 3")),
}
"""Site -> manufacturer and model of its devices."""
PLACEHOLDER, PLACEHOLDERS = "19010101", 0.02
"""Date that anonymisation leaves in some studies, and the share of such studies."""
SHARES = {PhantomKind.HEALTHY: 0.4, PhantomKind.COVID: 0.3, PhantomKind.OTHER: 0.3}
LUNG_MASKS, DISEASE_MASKS = 0.8, 0.75  # share of the images that have one
UNKNOWN_CAUSE = 0.05  # share of the diseased images that are labelled unhealthy, without a diagnosis


@dataclass(frozen=True)
class PhantomFile:
    """One file of the archive.

    Attributes:
        file: path below the archive's root.
        kind: class; None for a troublemaker.
        form: one of `FORMATS`, or the troublemaker's name.
        seed: seed of the phantom: `draw(seed, kind, patient=patient_seed)`.
        patient_seed: seed of the anatomy.
        patient: name of the patient.
        study: name of the study.
        reason: reason that decoding must give; None for a sound radiograph.
    """

    file: str
    kind: PhantomKind | None
    form: str
    seed: int
    patient_seed: int
    patient: str
    study: str
    reason: Reason | None

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix, unique in the archive."""
        return self.file.rpartition("/")[2].rpartition(".")[0]


def plan(count: int, seed: int) -> list[PhantomFile]:
    """Plans an archive of `count` files, in its order, without drawing anything.

    Raises:
        ConfigError: if `count` leaves no room for one image of each class beside the troublemakers.
    """
    least = len(TROUBLEMAKERS) + len(SHARES)
    if count < least:
        raise ConfigError(f"expected count of at least {least}: {len(TROUBLEMAKERS)} troublemakers and some chests")
    rng = np.random.default_rng([5, seed])
    patients: list[list[tuple[PhantomKind, int]] | Troublemaker] = [
        *TROUBLEMAKERS,
        *_patients(rng, count - len(TROUBLEMAKERS)),
    ]
    decks = {kind: _deck(rng) for kind in PhantomKind}
    entries = []
    for number, position in enumerate(rng.permutation(len(patients)), start=1):
        member = patients[position]
        patient, patient_seed = f"p{number:04d}", int(rng.integers(2**31))
        if isinstance(member, Troublemaker):
            file = f"images/{patient}/{patient}_{member.name}{member.suffix}"
            form, study, reason = member.name, f"{patient}_s1", member.reason
            entries.append(
                PhantomFile(file, None, form, int(rng.integers(2**31)), patient_seed, patient, study, reason)
            )
            continue
        for shot, (kind, visit) in enumerate(member, start=1):
            form, study = next(decks[kind]), f"{patient}_s{visit}"
            file = f"images/{patient}/{study}_{shot}{suffix(form)}"
            entries.append(PhantomFile(file, kind, form, int(rng.integers(2**31)), patient_seed, patient, study, None))
    return entries


def write(output: str, count: int, seed: int) -> list[PhantomFile]:
    """Draws and writes the archive; equal arguments give equal bytes.

    Args:
        output: URI of its root; must be empty.
        count: number of files listed in `labels.csv`, troublemakers included.
        seed: seed of everything.

    Raises:
        ConfigError: if `count` is too small, or files lie at `output`: masks of another archive would become truth.
        StorageError: if it cannot be written.
    """
    entries = plan(count, seed)
    output = storage.normalise(output)
    if storage.exists(output) and next(storage.list_files(output), None):
        raise ConfigError(
            f"expected an empty directory for the archive, got files at {output}: delete it, or give another"
        )
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow(_write_entry(output, entry))
    storage.write_bytes(storage.join(output, "labels.csv"), table.getvalue().encode())
    return entries


def summary(entries: list[PhantomFile]) -> str:
    """Returns three lines that say what was written."""
    kinds = Counter(entry.kind for entry in entries if entry.kind)
    suffixes = Counter(entry.file.rpartition(".")[2] for entry in entries)
    troubles = [entry.form for entry in entries if entry.reason]
    return "\n".join(
        [
            f"{len(entries)} files of {len({entry.patient for entry in entries})} patients: "
            + ", ".join(f"{kinds[kind]} {kind}" for kind in PhantomKind),
            "formats: " + ", ".join(f"{number} .{name}" for name, number in suffixes.most_common()),
            f"{len(troubles)} troublemakers: " + ", ".join(troubles),
        ]
    )


def _patients(rng: np.random.Generator, images: int) -> Iterator[list[tuple[PhantomKind, int]]]:
    """Yields patients of one class each: lists of (class, visit), 1 to 3 visits of 1 or 2 images, `images` in all."""
    made: Counter[PhantomKind] = Counter()
    while (left := images - made.total()) > 0:
        kind = max(PhantomKind, key=lambda kind: SHARES[kind] * images - made[kind])
        visits = rng.choice(3, p=(0.7, 0.2, 0.1)) + 1
        shots = [(kind, visit) for visit in range(1, visits + 1) for _ in range(1 + (rng.random() < 0.2))][:left]
        made[kind] += len(shots)
        yield shots


def _deck(rng: np.random.Generator) -> Iterator[str]:
    """Yields file formats without end, each as often as in `FORMATS`, so that every class gets the same mixture."""
    while True:
        yield from (str(form) for form in rng.permutation(FORMATS))


def _taken(entry: PhantomFile) -> tuple[str, tuple[str, str], str]:
    """Returns site, device (manufacturer, model) and day (YYYYMMDD) of a file; the site depends on the patient only."""
    rng = np.random.default_rng([8, entry.patient_seed])
    site = str(rng.choice(list(DEVICES)))
    first = date(2020, 1, 1) + timedelta(days=int(rng.integers(0, 300)))
    visit = int(entry.study.rpartition("_s")[2])
    of_visit = np.random.default_rng([8, entry.patient_seed, visit])
    device = DEVICES[site][int(of_visit.integers(len(DEVICES[site])))]
    day = first + timedelta(days=14 * (visit - 1) + int(of_visit.integers(0, 10)))
    return site, device, PLACEHOLDER if of_visit.random() < PLACEHOLDERS else f"{day:%Y%m%d}"


def _write_entry(output: str, entry: PhantomFile) -> dict[str, str | int]:
    """Writes one file and its masks, and returns its line of `labels.csv`."""
    rng = np.random.default_rng([6, entry.seed])
    modality: Literal["CR", "DX"] = "CR" if rng.random() < 0.4 else "DX"
    body_part = "CHEST" if rng.random() < 0.85 else ""
    view_known = rng.random() < 0.9
    rng.integers(1, 13), rng.integers(1, 29)  # earlier versions drew the date here: this keeps the later draws the same
    site, device, day = _taken(entry)
    with_lung, with_disease, with_cause = rng.random(3) < (LUNG_MASKS, DISEASE_MASKS, 1 - UNKNOWN_CAUSE)
    line: dict[str, str | int] = {"file": entry.file, "patient": entry.patient, "study": entry.study}
    line |= {"site": site, "device": " ".join(device), "date": day}
    uri = storage.join(output, entry.file)
    if entry.kind is None:
        trouble = next(t for t in TROUBLEMAKERS if t.name == entry.form)
        header = Header(entry.patient, entry.study, entry.stem, "PA", "F", 50, modality, "CHEST", day, *device)
        if trouble.make:
            storage.write_bytes(uri, trouble.make(entry.seed, header))
        return line
    phantom = draw(entry.seed, entry.kind, patient=entry.patient_seed)
    view = phantom.view if view_known else ""
    header = Header(
        entry.patient, entry.study, entry.stem, view, phantom.sex, phantom.age, modality, body_part, day, *device
    )
    storage.write_bytes(uri, encode(phantom.pixels_HW, entry.form, header))
    if with_lung:
        _write_mask(storage.join(output, "lung_masks", f"{entry.stem}.png"), phantom.lung_HW)
    if with_disease and phantom.disease_HW.any():
        _write_mask(storage.join(output, "disease_masks", f"{entry.stem}.png"), phantom.disease_HW)
    return line | _labels(phantom, bool(with_cause))


def _labels(phantom: Phantom, with_cause: bool) -> dict[str, str | int]:
    cause: dict[str, str | int] = {"covid": "", "other": "", "findings": ""}
    if with_cause or phantom.kind is PhantomKind.HEALTHY:
        cause["covid"] = int(phantom.kind is PhantomKind.COVID)
        cause["other"] = int(phantom.kind is PhantomKind.OTHER)
        cause["findings"] = phantom.finding
    unhealthy = int(phantom.kind is not PhantomKind.HEALTHY)
    return {"view": phantom.view, "sex": phantom.sex, "age": phantom.age, "unhealthy": unhealthy} | cause


def _write_mask(uri: str, mask_HW: npt.NDArray[np.bool_]) -> None:
    storage.write_bytes(uri, save_image(Image.fromarray(mask_HW.astype(np.uint8) * np.uint8(255)), "PNG"))

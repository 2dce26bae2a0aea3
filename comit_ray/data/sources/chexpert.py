"""Source `chexpert`: tables `train.csv`, `valid.csv`, `test.csv`, and `train/patientN/studyN/viewN_frontal.jpg`.

Irvin et al., "CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison", AAAI 2019.
A labeller took the labels of `train.csv` from reports: 1.0 stated, 0.0 denied, -1.0 uncertain, blank not mentioned. The
radiographs were taken from 2002 to 2017, so no image shows COVID-19.

A radiograph is healthy only if `No Finding` is 1.0. A report that states no pathology does not prove health: the
labeller withholds `No Finding` also for findings without a column (emphysema, scoliosis ...), as it does for 4,184
frontal images on which no pathology is even uncertain. So `uncertain: positive` adds findings, and `negative` gives the
same labels as `ignore`.
"""

import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow, parse_age, parse_sex, place, scoped
from comit_ray.data.sources.readers import read_csv
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.tables.vocabulary import Split, View

NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"
PATHOLOGIES = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
)
_PATHOLOGIES = frozenset(PATHOLOGIES)

_LABELS = (NO_FINDING, *PATHOLOGIES, SUPPORT_DEVICES)
_DESCRIPTION = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_VALUES = {"1.0", "0.0", "-1.0", ""}
_TABLES = {Split.TRAIN: "train", Split.VAL: "valid", Split.TEST: "test(?:_labels)?"}
_SPLITS = {"train": Split.TRAIN, "valid": Split.VAL, "test": Split.TEST}
_IMAGE = re.compile(r"(?P<folder>(?:.*/)?)patient\d+/study\d+/[^/]+\.(?:jpe?g|png)", re.IGNORECASE)
_PATH = re.compile(r"(?:[^/]+/)?(?:train|valid|test)/patient\d+/study\d+/[^/]+")
_PROJECTIONS = {"AP": View.AP, "PA": View.PA, "": View.FRONTAL}
_SIDEWAYS = {"LL", "RL"}  # lateral projections

Seen = tuple[View, str, Reason | None]
"""A view, the evidence for it, and the reason to exclude the image, if any."""

Meaning = tuple[tuple[str, ...], tuple[int | None, int | None, int | None]]
"""The findings of an image, and what they say of health, COVID-19 and other disease."""


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every row of the present tables, then the images that no table lists (without labels).

    The prefix `CheXpert-v1.0-small/` of a path is dropped. The images may lie below any folders, including those into
    which the large copy is divided. The test table has only paths and labels.

    Raises:
        ManifestError: if there is no table, one lacks a column or has an unknown value, or an image occurs twice.
    """
    folders = sorted({found["folder"] for file in files if (found := _IMAGE.fullmatch(file.name))})
    tables = _tables(files)
    if not tables:
        raise ManifestError(f"expected train.csv, valid.csv or test.csv (or .gz) in {files.root}, found none")
    for split, table in tables.items():
        yield from _listed(files, table, split, folders, dataset, options.chexpert.uncertain == "positive")
    for file in files.untaken(_IMAGE.pattern):
        folder, patient, study, name = f"/{file.name}".rsplit("/", 3)
        view, source, excluded = view_of_name(name)
        yield ManifestRow(
            **place(file),
            listed=False,
            patient_id=scoped(dataset, patient),
            study_id=scoped(dataset, f"{patient}/{study}"),
            view=view,
            view_source=source,
            excluded=excluded,
            source_split=_SPLITS.get(folder.rpartition("/")[2].lower()),
        )


def labels(findings: tuple[str, ...]) -> tuple[int | None, int | None, int | None]:
    """Returns unhealthy, COVID-19 and other disease from the names of the columns that count as findings.

    The labels are unknown if there is neither `No Finding` nor a pathology, or both. Support devices are not a disease.
    """
    healthy = NO_FINDING in findings
    ill = not _PATHOLOGIES.isdisjoint(findings)
    if healthy == ill:
        return None, None, None
    return int(ill), 0, int(ill)


def view_of(side: str, projection: str) -> Seen | None:
    """Returns the view from `Frontal/Lateral` and `AP/PA`; None if a word is unknown.

    An image that one column calls frontal and the other calls a lateral projection is excluded: 17 images of
    `train.csv`.
    """
    if side == "Lateral":
        return View.LATERAL, "Frontal/Lateral", Reason.LATERAL
    if side == "Frontal" and projection in _SIDEWAYS:
        return View.UNKNOWN, "none", Reason.NOT_FRONTAL
    if side == "Frontal" and projection in _PROJECTIONS:
        return _PROJECTIONS[projection], "AP/PA" if projection else "Frontal/Lateral", None
    return None


def view_of_name(name: str) -> Seen:
    """Returns the view from the end of a name such as `view1_frontal.jpg`."""
    stem = name.rpartition(".")[0].lower()
    if stem.endswith("lateral"):
        return View.LATERAL, "file name", Reason.LATERAL
    if stem.endswith("frontal"):
        return View.FRONTAL, "file name", None
    return View.UNKNOWN, "none", None


def _tables(files: SourceFiles) -> dict[Split, SourceFile]:
    """Returns the present label tables: split -> table."""
    patterns = {split: rf"(?:.*/)?{stem}\.csv(?:\.gz)?" for split, stem in _TABLES.items()}
    return {
        split: files.table(pattern, f"table of the {split} split")
        for split, pattern in patterns.items()
        if next(files.matching(pattern), None) is not None
    }


def _listed(
    files: SourceFiles, table: SourceFile, split: Split, folders: list[str], dataset: str, uncertain_counts: bool
) -> Iterator[ManifestRow]:
    header, lines = read_csv(files, table)
    described = split is not Split.TEST or "AP/PA" in header
    expected = (*(_DESCRIPTION if described else _DESCRIPTION[:1]), *_LABELS)
    if not set(expected) <= set(header):
        raise ManifestError(f"expected columns {', '.join(expected)} in {table.name}, got: {', '.join(header)}")
    path_at, *description_at = (header.index(name) for name in expected[: -len(_LABELS)])
    labels_of = itemgetter(*(header.index(name) for name in _LABELS))
    meanings: dict[tuple[str, ...], Meaning] = {}  # most rows repeat what another one says
    for line in lines:
        path = line[path_at].strip()
        if not _PATH.fullmatch(path):
            raise ManifestError(f"expected paths [.../]train/patientN/studyN/NAME in {table.name}, got {path!r}")
        part, patient, study, name = path.split("/")[-4:]
        values = labels_of(line)
        known = meanings.get(values)
        if known is None:
            known = meanings[values] = _meaning(values, uncertain_counts, f"{path} in {table.name}")
        findings, (unhealthy, covid, other) = known
        sex, age, side, projection = (line[at].strip() for at in description_at) if described else ("", "", "", "")
        seen = view_of(side, projection) if described else view_of_name(name)
        if seen is None:
            raise ManifestError(
                f"expected Frontal or Lateral, and AP, PA, LL, RL or blank, for {path} in {table.name}, got {side!r} "
                f"and {projection!r}"
            )
        view, source, excluded = seen
        yield ManifestRow(
            **_where(files, folders, part, f"{patient}/{study}/{name}"),
            patient_id=scoped(dataset, patient),
            study_id=scoped(dataset, f"{patient}/{study}"),
            view=view,
            view_source=source,
            sex=parse_sex(sex),
            age=parse_age(age) or None,  # 0 stands for unknown: all other ages are 18 to 90
            findings=findings,
            unhealthy=unhealthy,
            covid=covid,
            other=other,
            excluded=excluded,
            source_split=split,
        )


def _meaning(values: tuple[str, ...], uncertain_counts: bool, where: str) -> Meaning:
    """Returns what the cells of the label columns say."""
    values = tuple(value.strip() for value in values)
    if not _VALUES.issuperset(values):
        wrong = next((label, value) for label, value in zip(_LABELS, values, strict=True) if value not in _VALUES)
        raise ManifestError(f"expected 1.0, 0.0, -1.0 or blank for {wrong[0]} of {where}, got {wrong[1]!r}")
    findings = tuple(
        label
        for label, value in zip(_LABELS, values, strict=True)
        if value == "1.0" or (uncertain_counts and value == "-1.0" and label != NO_FINDING)
    )
    return findings, labels(findings)


def _where(files: SourceFiles, folders: list[str], part: str, image: str) -> dict[str, Any]:
    """Returns the place of the image with this name below `train/`, `valid/` or `test/`, in whatever folder it lies.

    Patients are numbered across all parts, so `patientN/studyN/NAME` identifies one image.
    """
    found = [file for folder in folders if (file := files.find(f"{folder}{image}")) is not None]
    if len(found) > 1:
        raise ManifestError(f"expected each image once in {files.root}, got {found[0].name} and {found[1].name}")
    return place(files.take(found[0])) if found else {"path": f"{part}/{image}"}

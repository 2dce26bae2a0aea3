"""Source `bimcv` (BIMCV-COVID19): PNGs of stored values with DICOM JSON, in a tree of subjects and sessions.

    covid19_posi/participants.tsv, sub-S03427/sub-S03427_sessions.tsv
    covid19_posi/sub-S03427/ses-E06828/mod-rx/sub-S03427_ses-E06828_acq-1_run-1_bp-chest_vp-pa_dx.png and .json
    covid19_posi/derivatives/EHR/sil_reg_covid_posi.tsv, .../labels/labels_covid_posi.tsv

Vaya et al., "BIMCV COVID-19+: a large annotated dataset of RX and CT images from COVID-19 patients", 2020. The source
reads any iteration of the positive and the negative collection (`covid19_neg`). The name of a collection is not a
label; only a patient's tests are. The modules `bimcv_labels`, `bimcv_sidecars` and `bimcv_tables` hold the rules.

If the same file lies in several archives or folders, one copy stands for the image. The iterations of the dataset
overlap, and of some archives only a listing may be present.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.images import views
from comit_ray.data.sources.bimcv import bimcv_tables
from comit_ray.data.sources.bimcv.bimcv_labels import CovidTest, Report, covid_label, parse_labels, targets
from comit_ray.data.sources.bimcv.bimcv_sidecars import (
    READ_BY_HAND,
    Described,
    Sidecars,
    SmallFiles,
    at_hand,
    read_by_hand,
    read_small_files,
    view_of,
)
from comit_ray.data.sources.bimcv.bimcv_tables import Participant, SheetRow, parse_study_day, sheet_rows
from comit_ray.data.sources.manifest_row import ManifestRow, parse_age, parse_sex, place, scoped, unlisted
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import View


class _Standing(NamedTuple):
    """How well a copy can stand for its image; the smallest value is the best."""

    no_sidecar: bool
    absent: bool
    sidecar_absent: bool
    borrows: bool
    position: int


class Copies:
    """The best copy of every image: one with a sidecar, in the storage, its sidecar too, and with a sidecar of its own.

    Args:
        files: files of the source.
        sidecars: sidecars of the images.
        images: regular expression of the images' names.
    """

    def __init__(self, files: SourceFiles, sidecars: Sidecars, images: str) -> None:
        self._best: dict[str, _Standing] = {}
        for image in files.matching(images):
            name = _base(image)
            standing = _standing(files, sidecars, image)
            self._best[name] = min(standing, self._best.get(name, standing))

    def __contains__(self, name: object) -> bool:
        """Returns whether there is an image of this file name."""
        return name in self._best

    def __len__(self) -> int:
        return len(self._best)

    def is_best(self, image: SourceFile) -> bool:
        """Returns whether this copy stands for its image."""
        return self._best[_base(image)].position == image.position

    def is_at_hand(self, image: SourceFile) -> bool:
        """Returns whether the copy that stands for the image is in the storage."""
        return not self._best[_base(image)].absent


def _standing(files: SourceFiles, sidecars: Sidecars, image: SourceFile) -> _Standing:
    absent = not at_hand(files, image)
    if not image.name.lower().endswith(".png"):  # a CT volume
        return _Standing(False, absent, False, False, image.position)
    own = sidecars.own(image)
    sidecar = own or sidecars.borrowed(image)
    sidecar_absent = sidecar is not None and not at_hand(files, sidecar)
    return _Standing(sidecar is None, absent, sidecar_absent, own is None, image.position)


def _base(image: SourceFile) -> str:
    return image.name.rpartition("/")[2]


RADIOGRAPH = r"(?:.*/)?sub-[^/_]+_ses-[^/_]+_[^/]+\.png"
VOLUME = r"(?:.*/)?sub-[^/_]+_ses-[^/_]+_[^/]+\.nii(?:\.gz)?"
IMAGE = rf"{RADIOGRAPH}|{VOLUME}"

_NAME = re.compile(r"(?P<subject>sub-[^_]+)_(?P<session>ses-[^_]+)_(?:.*_)?(?P<kind>[^_.]+)\..+")
_TREE = re.compile(r"((?:.*/)?)sub-[^/]+/ses-[^/]+/mod-[^/]+/[^/]+")
_BODY_PART = re.compile(r"_bp-([^_]+)_")
_COLLECTION = re.compile(r"covid19_(posi|neg)", re.IGNORECASE)
_RADIOGRAPHS = {"cr", "dx", "dr", "rx"}

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Known:
    """Everything that the tables and small files say."""

    dataset: str
    act: bool
    participants: dict[str, Participant]
    tests: dict[str, list[CovidTest]]
    reports: dict[tuple[str, str], Report]
    sheet: dict[str, SheetRow]
    small: SmallFiles


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every image of the tree, then the absent files of the quality sheet, then PNGs with other names.

    CT volumes and laterals are excluded. An image that the quality sheet excludes (burned-in text; black and white
    swapped against its tags) is excluded as not in the protocol. An image without any JSON in its folder fails: 23% of
    the images are MONOCHROME1, and nothing tells which. If an image lies in two archives, the usable copy stands for it
    (see `Copies`) and the other is a duplicate; a copy without any JSON still fails if the usable copy is absent.

    Raises:
        ManifestError: if there is neither an image nor a quality sheet, a table lacks a column, or the sheet
            contradicts itself.
    """
    known = _Known(
        dataset=dataset,
        act=options.bimcv.act,
        participants=bimcv_tables.participants(files),
        tests=bimcv_tables.covid_tests(files),
        reports=bimcv_tables.report_labels(files),
        sheet=sheet_rows(files),
        small=read_small_files(files, sidecars=options.bimcv.sidecars == "read"),
    )
    sidecars = Sidecars(files, RADIOGRAPH)
    copies = Copies(files, sidecars, IMAGE)
    top = None
    for image in files.matching(IMAGE):
        tree = _TREE.fullmatch(image.name)
        top = tree[1] if top is None and tree else top
        row = _at_hand(known, files, sidecars, image)
        stood_for = row.excluded is None or (row.excluded is Reason.BAD_SIDECAR and copies.is_at_hand(image))
        again = stood_for and not copies.is_best(image)
        yield replace(row, excluded=Reason.DUPLICATE) if again else row
    if not copies and not known.sheet:
        raise ManifestError(
            f"expected images named sub-*_ses-*_*.png below {files.root}, archives of them, their listings "
            "*.tar-tvf.txt, or the quality sheet image_metadata_v1.tsv[.gz]; got none of them"
        )
    for name in known.sheet:
        if name not in copies:
            yield _elsewhere(known, files, name, "covid19_posi/" if top is None else top)
    for row in unlisted(files):
        yield replace(row, excluded=Reason.BAD_SIDECAR)


def _at_hand(known: _Known, files: SourceFiles, sidecars: Sidecars, image: SourceFile) -> ManifestRow:
    """Returns the row of an image of the tree; in an archive it comes after its sidecar, so one pass reads both."""
    where = place(files.take(image))
    name = image.name.rpartition("/")[2]
    if not name.lower().endswith(".png"):
        return _row(known, name, where, None, None)
    own = sidecars.own(image)
    sidecar = own or sidecars.borrowed(image)
    described = None if sidecar is None else known.small.described.get(sidecar.name)
    if sidecar is None:
        where["excluded"] = Reason.BAD_SIDECAR
    else:
        where["sidecar"] = files.reference(sidecar).to_text()
        if sidecar.path == image.path:
            where["position"] = max(image.position, sidecar.position)
    return _row(known, name, where, None if own is None else described, described)


def _elsewhere(known: _Known, files: SourceFiles, name: str, top: str) -> ManifestRow:
    """Returns the row of a file that only the quality sheet names, placed as in the unpacked dataset."""
    parsed = _NAME.fullmatch(name)
    path = f"{top}{parsed['subject']}/{parsed['session']}/mod-rx/{name}" if parsed else f"{top}{name}"
    where: dict[str, Any] = {"path": path}
    if name.lower().endswith(".png"):
        where["sidecar"] = storage.join(files.root, f"{path.removesuffix('.png')}.json")
    return _row(known, name, where, None, None)


def _row(
    known: _Known, name: str, where: dict[str, Any], own: Described | None, described: Described | None
) -> ManifestRow:
    """Returns the row of one file.

    Args:
        known: content of the tables.
        name: file name without folders.
        where: fields of a `ManifestRow` known so far; its `excluded` counts only if nothing else excludes the file.
        own: content of the image's own sidecar.
        described: content of the image's own sidecar, or of another one of its session.
    """
    parsed = _NAME.fullmatch(name)
    subject, session = (parsed["subject"], parsed["session"]) if parsed else ("", "")
    person = known.participants.get(subject, Participant(None, None))
    noted = known.sheet.get(name)
    view, view_source, excluded = _view(name, own, noted)
    taken_on = (
        known.small.sessions.get((subject, session))
        or (described.study_day if described else None)
        or (parse_study_day(noted.study_day) if noted else None)
    )
    report = known.reports.get((subject, session)) or parse_labels(noted.labels if noted else "")
    unhealthy, covid, other = targets(covid_label(taken_on, known.tests.get(subject, ()), act=known.act), report)
    collection = _COLLECTION.search(f"{where['path']}!{where.get('member')}")
    return ManifestRow(
        **where | {"excluded": excluded or where.get("excluded")},
        site=collection[0].lower() if collection else None,
        patient_id=scoped(known.dataset, subject),
        study_id=scoped(known.dataset, session),
        view=view,
        view_source=view_source,
        sex=person.sex or _first(parse_sex, described, noted, "sex"),
        age=_first(parse_age, described, noted, "age") if person.age is None else person.age,
        device=(own.device if own else "") or (noted.device if noted else "") or None,
        acquired_on=taken_on,
        findings=report.labels,
        unhealthy=unhealthy,
        covid=covid,
        other=other,
    )


def _view(name: str, own: Described | None, noted: SheetRow | None) -> tuple[View, str, Reason | None]:
    """Returns the view, its evidence, and why this is not a frontal chest radiograph of the study, if so."""
    parsed = _NAME.fullmatch(name)
    if parsed and parsed["kind"].lower() not in _RADIOGRAPHS:
        return View.UNKNOWN, "none", Reason.WRONG_MODALITY
    series = (own.series if own else "") or (noted.series if noted else "")
    orientation = (own.orientation if own else "") or (noted.orientation if noted else "")
    view, source = view_of(name, series, orientation)
    by_hand = read_by_hand(noted.position, series) if noted else None
    if by_hand is not None:
        view, source = by_hand, READ_BY_HAND
    if view is View.LATERAL:
        return view, source, Reason.LATERAL
    body_part = _BODY_PART.search(name)
    for exclusion in (
        views.wrong_modality(own.modality if own else "", "chest", []),
        views.not_a_chest(body_part[1], [series], "") if body_part else None,
    ):
        if exclusion is not None:
            return view, source, exclusion.reason
    return view, source, Reason.NOT_IN_PROTOCOL if noted and noted.excluded else None


def _first(
    parse: Callable[[str], _T | None], described: Described | None, noted: SheetRow | None, name: str
) -> _T | None:
    """Returns the first value that the sidecar or else the quality sheet states; None if neither does."""
    stated = (parse(getattr(one, name)) for one in (described, noted) if one is not None)
    return next((value for value in stated if value is not None), None)

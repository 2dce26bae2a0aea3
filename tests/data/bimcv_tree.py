"""A small BIMCV-COVID19+ with real names and real DICOM elements, phantoms for pixels, and made-up tests and reports.

`build` writes the unpacked tree; `pack` makes of it what the dataset's site offers: archives, listings, checksums.
"""

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comit_ray.data.phantom.phantom_drawing import PhantomKind, draw

SIDE = 128  # pixels
SECRET = "Secret^Person"


@dataclass(frozen=True)
class Case:
    """Tests of one patient, and what they make of the patient's radiographs.

    Args:
        what: the case, in words.
        tests: days after the radiograph (or the text of a cell), kind, result.
        covid: the label by the paper's rule; `covid_act` with antigen tests counted.
        study_date: where the radiograph's day is: in the list of sessions, as the float that pandas writes there, in
            the sidecar alone, or nowhere.
        labels: cells of the reports' table, one a report of the session; None: as the real sheet has it.
        unhealthy: the label by these reports; only where `labels` are given.
    """

    what: str
    tests: tuple[tuple[int | str, str, str], ...]
    covid: int | None
    covid_act: int | None
    study_date: str = "sessions"
    labels: tuple[str, ...] | None = None
    unhealthy: int | None = None


def _same(what: str, covid: int | None, *tests: tuple[int | str, str, str], **more: Any) -> Case:
    return Case(what, tests, covid, covid, **more)


CASES = (
    _same("positive on the day", 1, (0, "PCR", "POSITIVO"), labels=("['COVID 19', ' pneumonia ']",), unhealthy=1),
    _same("a positive, and a normal report", 1, (0, "PCR", "POSITIVO"), labels=("['normal']",), unhealthy=0),
    _same("a positive without a report", 1, (2, "PCR", "POSITIVO"), labels=(), unhealthy=None),
    _same("two reports that disagree", 1, (1, "PCR", "POSITIVO"), labels=("['normal']", "['infiltrates']")),
    _same("a report that is cut off", 1, (1, "PCR", "POSITIVO"), labels=("['normal', ' increased den",)),
    _same("13 days after", 1, (-13, "PCR", "POSITIVO"), study_date="float"),
    _same("13 days before", 1, (13, "PCR", "POSITIVO")),
    _same("14 days exactly", 0, (-14, "PCR", "POSITIVO"), labels=("['pneumonia']",), unhealthy=None),
    _same("closer to a negative", 0, (5, "PCR", "POSITIVO"), (-2, "PCR", "NEGATIVO")),
    _same("closer to a positive", 1, (2, "PCR", "POSITIVO"), (-5, "PCR", "NEGATIVO")),
    _same("a tie", 1, (3, "PCR", "POSITIVO"), (-3, "PCR", "NEGATIVO")),
    _same("a tie of 14 days", 0, (14, "PCR", "POSITIVO"), (-14, "PCR", "NEGATIVO")),
    _same("negatives alone", 0, (40, "PCR", "NEGATIVO"), (3, "IGG", "NEGATIVO")),
    _same("indeterminate alone", None, (0, "PCR", "INDETERMINADO")),
    _same("indeterminate and a positive", 1, (0, "PCR", "INDETERMINADO"), (6, "PCR", "POSITIVO")),
    _same("no tests", None, labels=("['normal']",), unhealthy=0),
    _same("IgG alone", 1, (9, "IGG", "POSITIVO")),
    _same("IgM alone", 1, (9, "IGM", "POSITIVO")),
    Case("an antigen test alone", ((1, "ACT", "POSITIVO"),), None, 1),
    Case("a closer antigen test", ((5, "PCR", "POSITIVO"), (1, "ACT", "NEGATIVO")), 1, 0),
    _same("a day that is none", None, ("31.02.2020", "PCR", "POSITIVO"), ("", "PCR", "POSITIVO")),
    _same("blanks and small letters", 1, (1, " pcr ", " positivo ")),
    _same("a radiograph without a day", None, (0, "PCR", "POSITIVO"), study_date="nowhere"),
    _same("a day in the sidecar alone", 1, (0, "PCR", "POSITIVO"), study_date="sidecar"),
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One radiograph of the tree.

    Attributes:
        name: below the root of the unpacked dataset.
        row: the real sheet's.
        case: of its patient.
        sidecar: name of its JSON; None for the one that lacks it.
        form: "stored" values of 16 bits (8 if the real image has 8), "rgb" or "empty".
        shown: what decoding must give, about; None unless stored.
    """

    name: str
    row: dict[str, str]
    case: Case
    sidecar: str | None
    form: str
    shown: NDArray[np.uint8] | None


@dataclass
class Tree:
    """What was written.

    Attributes:
        root: of the unpacked dataset, which holds `covid19_posi/`.
        radiographs: all PNGs.
        volumes: names of the CT volumes.
        subjects: subject -> its case.
    """

    root: Path
    radiographs: list[Made] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    subjects: dict[str, Case] = field(default_factory=dict)


def read_rows(sheet: Path) -> list[dict[str, str]]:
    """The rows of the real quality sheet, `image_metadata_v1.tsv.gz`, some of them repeated."""
    with gzip.open(sheet, "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def build(root: Path, sheet: Path, *, spanish: bool = False, top: str = "covid19_posi") -> Tree:
    """Write the unpacked dataset: one session of one real patient for each of `CASES`, 24 patients, about 35 PNGs.

    Args:
        root: directory that will hold `top`.
        sheet: the real quality sheet.
        spanish: write the tests' table as iteration 1 has it.
        top: name of the collection.
    """
    tree = Tree(root)
    chosen = _choose(list({row["File"]: row for row in read_rows(sheet)}.values()), len(CASES))
    for (subject, rows), case in zip(chosen.items(), CASES, strict=True):
        tree.subjects[subject] = case
        _write_session(tree, top, subject, rows, case)
    base = root / top
    _write_participants(base, tree)
    _write_tests(base, tree, spanish)
    _write_reports(base, tree, spanish)
    return tree


def pack(tree: Tree, output: Path, *, archives: int = 2, at_hand: bool = True, sessions_apart: bool = False) -> None:
    """Write the tree as the dataset's site offers it: `bimcv_covid19_posi_subjects_N.tgz`, a head archive, listings.

    Args:
        tree: as built.
        output: directory.
        archives: over how many the subjects are spread.
        at_hand: False: of the subjects' archives only listings and checksums are there.
        sessions_apart: the lists of sessions are in an archive of their own, as in iteration 1+2.
    """
    output.mkdir(parents=True, exist_ok=True)
    names = sorted(str(path.relative_to(tree.root)) for path in tree.root.rglob("*") if path.is_file())
    spread: dict[str, list[str]] = defaultdict(list)
    for name in names:
        subject = next((part for part in name.split("/") if part.startswith("sub-")), None)
        number = sorted(tree.subjects).index(subject) % archives + 1 if subject else None
        part = "head_iter1" if number is None else f"subjects_{number}"
        spread["sessions_tsv" if sessions_apart and name.endswith("_sessions.tsv") else part].append(name)
    digests = []
    for part, members in spread.items():
        if part == "subjects_1":  # sidecars behind their images, as some archives have them
            members.sort(key=lambda name: (name.rpartition("/")[0], name.endswith(".json"), name))
        data = _archive(tree.root, members)
        name = f"bimcv_covid19_posi_{part}"
        digests.append(f"{hashlib.sha1(data).hexdigest()}  {name}.tgz\n")
        (output / f"{name}.tar-tvf.txt").write_text(_listing(tree.root, members), encoding="utf-8")
        if at_hand or not part.startswith("subjects"):
            (output / f"{name}.tgz").write_bytes(data)
    (output / "sha1sum.txt").write_text("".join(digests))


def _choose(rows: list[dict[str, str]], count: int) -> dict[str, list[dict[str, str]]]:
    """Subject -> radiographs of its first session, of two also a CT volume; all sorts of devices and of pixels."""
    sessions: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        sessions[row["Subject"]][row["Session"]].append(row)
    chosen: dict[str, list[dict[str, str]]] = {}
    seen: dict[tuple[str, ...], int] = defaultdict(int)
    volumes = 0
    for subject, held in sorted(sessions.items()):
        scans = [row for session in held.values() for row in session if row["Type"] == "ct.nii.gz"][: volumes < 2]
        pictures = next(([row for row in session if row not in scans] for session in held.values()), [])[:3]
        if any(row["Type"] == "ct.nii.gz" or row["Exclude"] == "True" for row in pictures) or not pictures:
            continue
        first = pictures[0]
        look = (first["Manufacturer"], first["Photometric Interpretation"], first["Bits Stored"], str(len(pictures)))
        if (seen[look] < 1 or scans) and len(chosen) < count:
            seen[look] += 1
            volumes += len(scans)
            chosen[subject] = pictures + scans
    assert len(chosen) == count, f"the sheet gives {len(chosen)} patients of {count}"
    return chosen


def _write_session(tree: Tree, top: str, subject: str, rows: list[dict[str, str]], case: Case) -> None:
    session = rows[0]["Session"]
    folder = f"{top}/{subject}/{session}/mod-rx"
    (tree.root / folder).mkdir(parents=True)
    pictures = [row for row in rows if row["Type"] != "ct.nii.gz"]
    for number, row in enumerate(pictures):
        name = f"{folder}/{row['File']}"
        form = {CASES[5].what: "rgb", CASES[6].what: "empty"}.get(case.what, "stored") if number == 0 else "stored"
        lacking = number == 1 and not any(made.sidecar is None for made in tree.radiographs)
        elements = _elements(row, with_date=case.study_date != "nowhere")
        shown = _write_png(tree.root / name, row, form, elements, seed=len(tree.radiographs))
        sidecar = None if lacking else f"{name.removesuffix('.png')}.json"
        if sidecar is not None:
            (tree.root / sidecar).write_text(json.dumps(elements))
        tree.radiographs.append(Made(name, row, case, sidecar, form, shown))
    for row in rows[len(pictures) :]:
        volume = f"{top}/{subject}/{row['Session']}/mod-rx/{row['File']}"
        (tree.root / volume).parent.mkdir(parents=True, exist_ok=True)
        (tree.root / volume).write_bytes(gzip.compress(b"no volume", mtime=0))
        (tree.root / volume.replace(".nii.gz", ".json")).write_text(json.dumps(_elements(row)))
        tree.volumes.append(volume)
    day = rows[0]["Study Date"]
    cell = {"sessions": day, "float": f"{day}.0"}.get(case.study_date, "nan")
    text = f"session_id\tstudy_date\tmedical_evaluation\n{session}\t{cell}\t\"['T\u00f3rax sin hallazgos']\"\n"
    (tree.root / top / subject / f"{subject}_sessions.tsv").write_bytes(text.encode("latin-1"))


def _elements(row: dict[str, str], *, with_date: bool = True) -> dict[str, Any]:
    """A real file's header in the DICOM JSON model; absent values have no `Value`."""

    def numbers(name: str) -> list[float]:
        return [float(number) for number in row[name].split(",") if number.strip()]

    def words(name: str) -> list[str]:
        return [word for word in row[name].strip('"').split("', '") if word]

    values: dict[str, tuple[str, list[Any]]] = {
        "00080020": ("DA", words("Study Date") if with_date else []),
        "00080060": ("CS", words("Modality")),
        "00080070": ("LO", words("Manufacturer")),
        "0008103E": ("LO", words("Series Description")),
        "00081090": ("LO", words("Manufacturer's Model Name")),
        "00100010": ("PN", [{"Alphabetic": SECRET}]),
        "00100040": ("CS", words("Patient's Sex")),
        "00101010": ("AS", words("Patient's Age")),
        "00180015": ("CS", words("Body Part Examined")),
        "00185101": ("CS", words("View Position")),
        "00200020": ("CS", words("Patient Orientation")),
        "00280002": ("US", [1]),
        "00280004": ("CS", words("Photometric Interpretation")),
        "00280010": ("US", [SIDE]),
        "00280011": ("US", [SIDE]),
        "00280100": ("US", [int(row["Bits Allocated"])]),
        "00280101": ("US", [int(row["Bits Stored"])]),
        "00280103": ("US", [int(row["Pixel Representation"])]),
        "00281050": ("DS", numbers("Window Center")),
        "00281051": ("DS", numbers("Window Width")),
        "00281052": ("DS", numbers("Rescale Intercept")),
        "00281053": ("DS", numbers("Rescale Slope")),
    }
    return {tag: {"vr": vr} | ({"Value": value} if value else {}) for tag, (vr, value) in values.items()}


@cache
def _chest(seed: int) -> NDArray[np.uint8]:
    """Drawn once for all trees of a process."""
    chest = draw(seed, list(PhantomKind)[seed % 3], size=(SIDE, SIDE)).pixels_HW
    chest.setflags(write=False)
    return chest


def _write_png(
    path: Path, row: dict[str, str], form: str, elements: dict[str, Any], seed: int
) -> NDArray[np.uint8] | None:
    """A chest as the stored values that the real file's elements turn into it; what decoding must give, about."""
    chest = _chest(seed)
    if form == "empty":
        path.write_bytes(b"")
        return None
    if form == "rgb":
        Image.fromarray(chest).convert("RGB").save(path)
        elements["00280002"]["Value"] = [3]
        elements["00280004"]["Value"] = ["RGB"]
        return None
    highest = 2 ** int(row["Bits Stored"]) - 1
    centers, widths = elements["00281050"].get("Value"), elements["00281051"].get("Value")
    low, high = (centers[0] - widths[0] / 2, centers[0] + widths[0] / 2) if centers else (0, highest)
    slope, intercept = float(row["Rescale Slope"] or 1), float(row["Rescale Intercept"] or 0)
    light = chest / 255 if row["Photometric Interpretation"] == "MONOCHROME2" else 1 - chest / 255
    stored = ((low + light * (high - low) - intercept) / slope).round().clip(0, highest)
    Image.fromarray(stored.astype(np.uint8 if row["Bits Allocated"] == "8" else np.uint16)).save(path)
    return chest


def _write_participants(base: Path, tree: Tree) -> None:
    lines = ["participant\tmodality_dicom\tbody_parts\tage\tgender", "derivatives\t[]\t[]\t\t"]
    for number, subject in enumerate(tree.subjects):
        made = next(made for made in tree.radiographs if f"/{subject}/" in made.name)
        age = ("[80]", "[80, 81]", "")[number % 3]
        sex = "None" if number % 4 == 3 else made.row["Patient's Sex"]
        lines.append(f"{subject}\t['{made.row['Modality']}']\t[['chest']]\t{age}\t{sex}")
    (base / "participants.tsv").write_text("\n".join(lines) + "\n")


def _write_tests(base: Path, tree: Tree, spanish: bool) -> None:
    header = "label\tsubject\tdate\ttest\tresult\tparticipant\tUnnamed: 6"
    lines = ["\tfecha\tprueba\tresultado\tparticipant" if spanish else header]
    for subject, case in tree.subjects.items():
        made = next(made for made in tree.radiographs if f"/{subject}/" in made.name)
        taken_on = datetime.strptime(made.row["Study Date"], "%Y%m%d").date()
        for when, kind, result in case.tests:
            day = when if isinstance(when, str) else _day(taken_on + timedelta(days=when))
            cells = [str(len(lines)), day, kind, result, subject]
            lines.append("\t".join(cells if spanish else [str(len(lines)), *cells, ""]))
    name = "sil_reg_covid.tsv" if spanish else "sil_reg_covid_posi.tsv"
    (base / "derivatives/EHR").mkdir(parents=True)
    (base / "derivatives/EHR" / name).write_text("\n".join(lines) + "\n")


def _day(day: date) -> str:
    return f"{day:%d.%m.%Y}"


def _write_reports(base: Path, tree: Tree, spanish: bool) -> None:
    columns = "PatientID ReportID Report Labels Localizations LabelsLocalizationsBySentence labelCUIS LocalizationsCUIS"
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["", *columns.split()])
    for subject, case in tree.subjects.items():
        made = next(made for made in tree.radiographs if f"/{subject}/" in made.name)
        cells = [f"['{made.row['Labels']}']"] if case.labels is None else case.labels
        for number, cell in enumerate(cells):
            writer.writerow(
                [number, subject, made.row["Session"], 'torax\tsin "hallazgos"', cell, "[]", "[]", "[]", "[]"]
            )
    (base / "derivatives/labels").mkdir(parents=True)
    name = "labels_covid19_posi.tsv" if spanish else "labels_covid_posi.tsv"
    (base / "derivatives/labels" / name).write_text(text.getvalue())


def _archive(root: Path, members: list[str]) -> bytes:
    """A tar.gz with its directories, the same bytes for the same tree."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name in _with_folders(members):
            info = tar.gettarinfo(root / name, name)
            info.uid = info.gid = info.mtime = 0
            if info.isdir():
                tar.addfile(info)
            else:
                with (root / name).open("rb") as body:
                    tar.addfile(info, body)
    return packed.getvalue()


def _listing(root: Path, members: list[str]) -> str:
    """What `tar -tvf` prints."""
    lines = []
    for name in _with_folders(members):
        path = root / name
        mode, size, end = ("drwxr-xr-x", 0, "/") if path.is_dir() else ("-rw-r--r--", path.stat().st_size, "")
        lines.append(f"{mode} bimcv/bimcv {size:>9} 2020-06-11 10:22 {name}{end}\n")
    return "".join(lines)


def _with_folders(members: list[str]) -> list[str]:
    """Members, each folder before what it holds."""
    listed: dict[str, None] = {}
    for name in members:
        parts = name.split("/")
        listed |= {"/".join(parts[:depth]): None for depth in range(1, len(parts) + 1)}
    return list(listed)

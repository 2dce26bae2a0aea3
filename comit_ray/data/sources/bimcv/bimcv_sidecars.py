"""BIMCV-COVID19: the small files between the images, sidecars and lists of sessions, each archive passed over once.

They are read in the archives' order and only what the manifest needs of them is kept, about a kilobyte an image.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import islice

from comit_ray.data.images.dicom_display import text
from comit_ray.data.images.sidecar import MAX_BYTES, read_sidecar
from comit_ray.data.sources.bimcv.bimcv_tables import parse_sessions, parse_study_day
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import DecodeError, ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader

SIDECAR = r"(?:.*/)?sub-[^/_]+_ses-[^/_]+_[^/]+(?<!_ct)\.json"
SESSIONS = r"(?:.*/)?sub-[^/]+_sessions\.tsv"
_SMALL = rf"{SIDECAR}|{SESSIONS}"
_THREADS = 8
_WINDOW = 64  # files in flight


@dataclass(frozen=True, slots=True)
class Described:
    """What the manifest needs of a sidecar; blank or None where it does not say."""

    series: str
    orientation: str
    modality: str
    device: str
    sex: str
    age: str
    study_day: date | None


@dataclass(frozen=True)
class SmallFiles:
    """What all small files say.

    Attributes:
        described: name of a sidecar -> its content; those that are absent or broken are not in it.
        sessions: subject and session -> the day of the study, where the subject's list gives one.
    """

    described: dict[str, Described]
    sessions: dict[tuple[str, str], date]


def read_small_files(files: SourceFiles, *, sidecars: bool) -> SmallFiles:
    """Every list of sessions and, if asked for, every sidecar.

    A sidecar that cannot be parsed counts as absent here: the file's name and the tables are asked instead, and
    decoding will refuse the image. So does a file in an archive of which only a listing is there, or behind an
    archive's damage. How many there are is said on standard error.

    Raises:
        ManifestError: if the storage refuses a file that is there (a label must not depend on the network), or a list
            of sessions lacks a column.
    """
    found = SmallFiles({}, {})
    pattern = _SMALL if sidecars else SESSIONS
    absent: Counter[str] = Counter()
    for file, data in _read(files, pattern):
        if data is None:
            absent["cannot be read: their archive is not there, or damaged, or they are longer than 1 MiB"] += 1
        elif file.name.lower().endswith(".tsv"):
            subject = file.name.rpartition("/")[2].removesuffix("_sessions.tsv")
            for session, day in parse_sessions(data, file):
                found.sessions[subject, session] = day
        else:
            try:
                found.described[file.name] = _described_file(data)
            except DecodeError:
                absent["are no DICOM JSON"] += 1
    for why, number in absent.items():
        print(f"{files.root}: {number} sidecars or lists of sessions {why}", file=sys.stderr)
    return found


def at_hand(files: SourceFiles, file: SourceFile) -> bool:
    """Whether the storage has the file: an archive of which only a listing is there is no file itself."""
    if (file.path, file.member) in files.unusable:
        return False
    archive = file if file.member is None else files.find(file.path)
    return archive is not None and archive.member is None


def _described_file(data: bytes) -> Described:
    elements = read_sidecar(data)
    oriented = elements.get("PatientOrientation") or ""
    device = f"{text(elements, 'Manufacturer')} {text(elements, 'ManufacturerModelName')}".replace('"', "")
    return Described(
        series=" ".join(text(elements, "SeriesDescription").split()),
        orientation=str(oriented if isinstance(oriented, str) else oriented[0]),
        modality=text(elements, "Modality").upper(),
        device=" ".join(device.split()),
        sex=text(elements, "PatientSex"),
        age=text(elements, "PatientAge"),
        study_day=parse_study_day(text(elements, "StudyDate")),
    )


def _read(files: SourceFiles, pattern: str) -> Iterator[tuple[SourceFile, bytes | None]]:
    """Every file that `pattern` matches, in the archives' order, and its bytes, or None; see `read_small_files`."""

    def is_there(file: SourceFile) -> bool:
        return at_hand(files, file) and file.size <= MAX_BYTES

    def read(file: SourceFile) -> bytes | None:
        try:
            return reader.read(files.reference(file)) if is_there(file) else None
        except DecodeError as error:
            if error.reason is Reason.UNREADABLE:
                raise ManifestError(f"cannot read {files.reference(file)}: {error.detail}; try again") from error
            return None

    wanted = (files.reference(file) for file in files.matching(pattern) if is_there(file))
    with FileReader(MAX_BYTES, wanted) as reader, ThreadPoolExecutor(_THREADS) as pool:
        matching = files.matching(pattern)
        while window := list(islice(matching, _WINDOW)):
            yield from zip(window, pool.map(read, window), strict=True)
            for passed in {file.path for file in window} - {window[-1].path}:
                reader.close_archive(storage.join(files.root, passed))

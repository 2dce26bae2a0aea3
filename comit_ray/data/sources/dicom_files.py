"""Source `dicom`: any tree of DICOM files; patients and studies become keyed hashes.

The key is the environment variable `COMIT_ID_KEY` (16 bytes or more of text). The same key gives the same
pseudonym in every run, so that archives of one hospital can be merged. Without a key, patients and studies stay
unknown: anyone could undo an unkeyed hash of a record number by hashing all record numbers.
"""

import hashlib
import hmac
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.dicom_radiograph import DicomHeader, read_header
from comit_ray.data.sources.image_files import MaskFiles
from comit_ray.data.sources.manifest_row import MAX_AGE, ManifestRow, place
from comit_ray.data.sources.skipped import Why, why
from comit_ray.data.sources.source_files import SourceFile, SourceFiles
from comit_ray.errors import ConfigError, DecodeError, StorageError
from comit_ray.storage import storage
from comit_ray.storage.archive import archive_kind
from comit_ray.storage.file_reader import FileReader, FileRef

KEY_VARIABLE = "COMIT_ID_KEY"
MIN_KEY_BYTES = 16
SUFFIXES = (".dcm", ".dicom")
_NAMED = re.compile(r".*\.(dcm|dicom|dic|dc3|ima|acr|\d+)|[^.]*|[\d.]+", re.IGNORECASE | re.DOTALL)
"""Names of DICOM files: a known ending, no ending, or a UID. For any other name the first bytes decide."""
WITHOUT_KEY = (
    f"{KEY_VARIABLE} is not set: patients and studies stay unknown, so that no image can enter val or test. "
    f"Set it to a secret of {MIN_KEY_BYTES} characters or more to have them as keyed hashes."
)
_HEAD = 4096
HEAD_BYTES = 2**20  # headers have some kilobytes, radiographs megabytes
THREADS = 8
WINDOW = 64  # files in flight: few enough to bound memory, enough to hide the storage's latency


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every file that is or may be DICOM, by its name (a known ending, no ending, or a UID) or its first bytes.

    A file with a broken header is still a row, without a reason; the screen finds and records the damage. A file that
    the storage refuses is an error: without its patient it could be trained on while the same patient's other images
    are tested. `DICOMDIR` is an index, not an image. A mask (see `MaskFiles`) belongs to the file whose name without
    `.dcm` or `.dicom` is the mask's stem; dots of a UID are part of the name.

    Raises:
        ManifestError: it is not clear which mask belongs to which file.
        ConfigError: the key is too short to protect anybody.
        StorageError: the storage refuses a file.
    """
    key = read_key()
    if key is None:
        print(WITHOUT_KEY, file=sys.stderr)
    yield from rows_of(files, MaskFiles(files), key)


def rows_of(
    files: SourceFiles,
    masks: MaskFiles,
    key: bytes | None,
    accepts: Callable[[bytes], bool] = looks_like_dicom,
    leave: Callable[[str], bool] = lambda name: False,
) -> Iterator[ManifestRow]:
    """Yields the same rows as `rows`, for files that another source reads too.

    Args:
        files: files below the root.
        masks: masks, some of which other images may have taken already.
        key: key for the hashes of patients and studies; None leaves them unknown.
        accepts: whether the first bytes show an image, for a file whose name does not tell.
        leave: whether a file of this name belongs to the other source.
    """
    limits = DecodeLimits()

    def is_candidate(file: SourceFile) -> bool:
        archive = file.member is None and archive_kind(file.path) is not None
        other = archive or why(file.name, file.member) is not Why.OTHER
        return not (other or masks.holds(file.name) or leave(file.name))

    def is_readable(file: SourceFile) -> bool:
        return file.size <= limits.max_bytes and (file.path, file.member) not in files.unusable

    candidates = filter(is_candidate, files)
    wanted = (files.reference(f) for f in files if f.member and is_candidate(f) and is_readable(f))
    last = ""
    with FileReader(limits.max_bytes, wanted) as reader, ThreadPoolExecutor(THREADS) as pool:
        while window := list(islice(candidates, WINDOW)):
            found = pool.map(lambda file: _row(files, file, reader, key, limits, accepts), window)
            for file, row in zip(window, found, strict=True):
                if row is None:
                    files.pass_over(file, Why.OTHER)
                else:
                    name = (row.member or row.path).rpartition("/")[2]
                    lung, disease = masks.take(row.member or row.path, _stem(name))
                    yield replace(row, lung_mask=lung, disease_mask=disease)
            for passed in {last, *(file.path for file in window)} - {window[-1].path}:
                reader.close_archive(storage.join(files.root, passed))
            last = window[-1].path


def pseudonym(identifier: str, key: bytes, kind: str) -> str | None:
    """Returns 32 hex digits of HMAC-SHA256 over `kind` (patient, study) and the identifier; None for a blank one."""
    identifier = identifier.strip()
    if not identifier:
        return None
    return hmac.new(key, f"{kind}:{identifier}".encode(), hashlib.sha256).hexdigest()[:32]


def _base(file: SourceFile) -> str:
    return file.name.rpartition("/")[2]


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def read_key() -> bytes | None:
    """Returns the key in the environment, or None if there is none.

    Raises:
        ConfigError: the key is too short to protect anybody.
    """
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if not key:
        return None
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(f"{KEY_VARIABLE} must have at least {MIN_KEY_BYTES} bytes, got {len(key)}")
    return key


def _read_header(reader: FileReader, ref: FileRef, size: int, limits: DecodeLimits) -> DicomHeader:
    """Reads the header from the first bytes; from the whole file if they end before the pixels or are deflated.

    A member of an archive is read whole at once, because a tar.gz yields it only once.
    """
    if ref.member is None:
        try:
            return read_header(reader.read(ref, HEAD_BYTES), limits)
        except DecodeError:
            if size <= HEAD_BYTES:
                raise
    return read_header(reader.read(ref), limits)


def _row(
    files: SourceFiles,
    file: SourceFile,
    reader: FileReader,
    key: bytes | None,
    limits: DecodeLimits,
    accepts: Callable[[bytes], bool],
) -> ManifestRow | None:
    """Returns the row of one file, or None if it is not an image."""
    ref = files.reference(file)
    named = _NAMED.fullmatch(_base(file)) is not None
    maybe = ManifestRow(**place(file)) if named else None
    try:
        if (file.path, file.member) in files.unusable:
            return maybe
        whole: bytes | None = None
        if not named:
            is_small_member = file.member is not None and file.size <= limits.max_bytes
            whole = reader.read(ref) if is_small_member else None  # a tar.gz yields a member only once
            if not accepts(reader.read(ref, _HEAD) if whole is None else whole[:_HEAD]):
                return None
            maybe = ManifestRow(**place(file))
        if file.size > limits.max_bytes:
            return maybe
        header = _read_header(reader, ref, file.size, limits) if whole is None else read_header(whole, limits)
    except DecodeError as error:
        if isinstance(error.__cause__, StorageError):  # an encrypted member of a zip stays a row, too
            raise StorageError(f"cannot read {ref}: {error.detail}; run again when the storage answers") from error
        return maybe
    return ManifestRow(
        **place(file),
        patient_id=pseudonym(header.patient_id or "", key, "patient") if key else None,
        study_id=pseudonym(header.study_uid or "", key, "study") if key else None,
        **known_of(header),
    )


def known_of(header: DicomHeader) -> dict[str, Any]:
    """Returns the columns that a header from any origin fills in: view, sex, age, device, day, exclusion."""
    return {
        "view": header.view,
        "view_source": header.view_source,
        "sex": header.sex,
        "age": header.age if header.age is not None and 0 <= header.age <= MAX_AGE else None,
        "device": header.device,
        "acquired_on": header.acquired_on,
        "excluded": header.exclusion.reason if header.exclusion else None,
    }

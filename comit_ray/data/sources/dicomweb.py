"""Source `dicomweb`: a PACS; one row per instance, found by QIDO-RS, fetched by WADO-RS during a screen.

Patients and studies are keyed hashes, as for files (`comit_ray.data.sources.dicom_files`). The image's address on the
server (`uri`) consists of its UIDs, since it can be fetched in no other way. So a reader of the table learns the UIDs,
but needs the server's permission to learn more.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from pydicom.dataset import Dataset

from comit_ray.config.source_config import DicomwebOptions, SourceOptions
from comit_ray.data.images.dicom_radiograph import FACTS, facts
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.data.sources.dicom_files import WITHOUT_KEY, known_of, pseudonym, read_key
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ConfigError, DecodeError, ManifestError
from comit_ray.storage import web

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every instance that the options select, by study, series and instance UID.

    The server is asked page by page, once for each modality. All rows are held (about 1 kB each) until the last page,
    so that their order does not depend on the server. What the server does not state, such as a view, the file states
    when it is read. Instances that are not a frontal chest radiograph by the server's answer are excluded.

    Raises:
        ConfigError: if the root is not a DICOMweb server, a date is invalid, or the key is too short.
        ManifestError: if an answer names no instance.
        StorageError: if the server refuses or does not answer.
    """
    if not web.is_web(files.root):
        raise ConfigError(f"--source dicomweb: --root must be the URL of a DICOMweb server, got {files.root}")
    key = read_key()
    if key is None:
        print(WITHOUT_KEY, file=sys.stderr)
    found: dict[str, ManifestRow] = {}
    for filters in _filters(options.dicomweb, datetime.now(UTC).date()):
        for answer in web.search(files.root, "instances", filters, [*FACTS, *_UIDS]):
            row = _row(answer, key)
            found[row.path] = row
    yield from (found[path] for path in sorted(found))


def _filters(options: DicomwebOptions, today: date) -> Iterator[dict[str, str]]:
    shared = {
        "StudyDate": _dates(options, today),
        "BodyPartExamined": options.body_part,
        "CurrentPatientLocation": options.location,
    }
    kept = {name: value for name, value in shared.items() if value}
    for modality in options.modalities:
        yield {"Modality": modality, **kept}


def _dates(options: DicomwebOptions, today: date) -> str | None:
    """Returns the range of study dates (PS3.4 C.2.2.2.5); None if the options set none."""
    if options.since is None:
        return options.study_date
    if options.study_date is not None:
        raise ConfigError("give --dicomweb.since or --dicomweb.study_date, not both")
    text = options.since.strip().lower()
    if text.endswith("d") and text[:-1].isdigit():
        return f"{today - timedelta(days=int(text[:-1])):%Y%m%d}-"
    try:
        return f"{datetime.strptime(text, '%Y%m%d').date():%Y%m%d}-"
    except ValueError:
        raise ConfigError(f"--dicomweb.since must be YYYYMMDD, or days such as 2d, got {options.since!r}") from None


def _row(answer: dict[str, object], key: bytes | None) -> ManifestRow:
    try:
        with decoder_guard():
            elements = Dataset.from_json(answer)
            study, series, instance = (str(elements.get(name) or "") for name in _UIDS)
            header = facts(elements)
    except DecodeError as error:
        raise ManifestError(f"the DICOMweb server gave a search result that is no DICOM JSON: {error.detail}") from None
    if not (study and series and instance):
        raise ManifestError("the DICOMweb server gave a search result without the UIDs of study, series and instance")
    return ManifestRow(
        path=web.instance_path(study, series, instance),
        patient_id=pseudonym(header.patient_id or "", key, "patient") if key else None,
        study_id=pseudonym(study, key, "study") if key else None,
        **known_of(header),
    )

"""Every error this package raises on purpose, and the reason codes of images that cannot be scored.

    ComitError                  base class; the message says what was expected, what came and what to do
    ├── ConfigError             an option, key or value is wrong                  (exit status 2)
    ├── StorageError            a URI cannot be listed, read or written
    │   ├── NotFoundError       there is nothing at the URI
    │   ├── DamagedError        the bytes of one of our files are not those that were written
    │   ├── ShortReadError      the storage gave fewer bytes than the file has
    │   ├── OvertakenError      another process has taken over the output
    │   ├── HeldError           another driver works on the output
    │   └── BrokenArchiveError  a tar or zip file was read and is damaged
    ├── ManifestError           a source, table or manifest breaks its format
    ├── CheckpointError         weights or a checkpoint are absent, truncated or of another kind
    └── DecodeError             one image cannot or must not be scored; carries a `Reason`

Errors of libraries (pydicom, Pillow, pyarrow, boto3) are translated into these where they happen.
"""

from enum import StrEnum


class Status(StrEnum):
    """What happened to one image of the manifest. Every image ends with exactly one of these."""

    OK = "ok"
    EXCLUDED = "excluded"
    FAILED = "failed"


class Reason(StrEnum):
    """Why an image has no scores. `STATUS_OF` says which reasons exclude an image and which are failures."""

    # The file, the storage or the program failed, and the image may be a patient's radiograph: somebody should look.
    MISSING = "missing"
    UNREADABLE = "unreadable"
    STORAGE_ABSENT = "storage_absent"
    STORAGE_CUT = "storage_cut"
    STORAGE_CHANGED = "storage_changed"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    ENCRYPTED = "encrypted"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    NO_PIXELS = "no_pixels"
    BAD_GEOMETRY = "bad_geometry"
    NOT_GRAYSCALE = "not_grayscale"
    MODEL_FAILED = "model_failed"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    BAD_SIDECAR = "bad_sidecar"
    BAD_MASK = "bad_mask"
    CRASHED_DECODER = "crashed_decoder"
    TIMED_OUT = "timed_out"
    PROGRAM_FAILED = "program_failed"
    # The file is sound, but not a frontal chest radiograph: the model cannot score it.
    MULTI_FRAME = "multi_frame"
    LATERAL = "lateral"
    NOT_A_CHEST = "not_a_chest"
    WRONG_MODALITY = "wrong_modality"
    NOT_FRONTAL = "not_frontal"
    FOR_PROCESSING = "for_processing"
    # The image is left out on purpose: another row stands for it, or the protocol does not select it.
    DUPLICATE = "duplicate"
    NOT_IN_PROTOCOL = "not_in_protocol"
    SUPERSEDED = "superseded"


STATUS_OF: dict[Reason, Status] = {
    Reason.MISSING: Status.FAILED,
    Reason.UNREADABLE: Status.FAILED,
    Reason.STORAGE_ABSENT: Status.FAILED,
    Reason.STORAGE_CUT: Status.FAILED,
    Reason.STORAGE_CHANGED: Status.FAILED,
    Reason.EMPTY: Status.FAILED,
    Reason.NOT_AN_IMAGE: Status.FAILED,
    Reason.TRUNCATED: Status.FAILED,
    Reason.CORRUPT: Status.FAILED,
    Reason.ENCRYPTED: Status.FAILED,
    Reason.UNSUPPORTED_TRANSFER_SYNTAX: Status.FAILED,
    Reason.TOO_LARGE: Status.FAILED,
    Reason.TOO_SMALL: Status.FAILED,
    Reason.BLANK: Status.FAILED,
    Reason.NO_PIXELS: Status.FAILED,
    Reason.BAD_GEOMETRY: Status.FAILED,
    Reason.NOT_GRAYSCALE: Status.FAILED,
    Reason.MODEL_FAILED: Status.FAILED,
    Reason.CHECKSUM_MISMATCH: Status.FAILED,
    Reason.BAD_SIDECAR: Status.FAILED,
    Reason.BAD_MASK: Status.FAILED,
    Reason.CRASHED_DECODER: Status.FAILED,
    Reason.TIMED_OUT: Status.FAILED,
    Reason.PROGRAM_FAILED: Status.FAILED,
    Reason.MULTI_FRAME: Status.EXCLUDED,
    Reason.LATERAL: Status.EXCLUDED,
    Reason.NOT_A_CHEST: Status.EXCLUDED,
    Reason.WRONG_MODALITY: Status.EXCLUDED,
    Reason.NOT_FRONTAL: Status.EXCLUDED,
    Reason.FOR_PROCESSING: Status.EXCLUDED,
    Reason.DUPLICATE: Status.EXCLUDED,
    Reason.NOT_IN_PROTOCOL: Status.EXCLUDED,
    Reason.SUPERSEDED: Status.EXCLUDED,
}
"""Reason -> whether it excludes an image or marks a failure. No other table decides this."""

REASON_WORDS: dict[Reason, str] = {
    Reason.MISSING: "there is no file",
    Reason.STORAGE_ABSENT: "the storage listed nothing in the folder, or listed the file and did not give it",
    Reason.STORAGE_CUT: "the storage gave fewer bytes than it listed",
    Reason.STORAGE_CHANGED: "the storage gave other bytes than it listed",
    Reason.UNREADABLE: "the storage refused the file",
    Reason.EMPTY: "the file is empty",
    Reason.NOT_AN_IMAGE: "the file is not an image",
    Reason.TRUNCATED: "the file ends too early",
    Reason.CORRUPT: "the file is damaged",
    Reason.ENCRYPTED: "the file is encrypted",
    Reason.UNSUPPORTED_TRANSFER_SYNTAX: "the compression is not supported",
    Reason.TOO_LARGE: "the image is larger than allowed",
    Reason.TOO_SMALL: "the image is too small",
    Reason.BLANK: "the image is blank",
    Reason.NO_PIXELS: "the file has no pixels",
    Reason.BAD_GEOMETRY: "the size of the image makes no sense",
    Reason.NOT_GRAYSCALE: "the image is in colour",
    Reason.MODEL_FAILED: "the model gave no valid score",
    Reason.CHECKSUM_MISMATCH: "the archive is not what its checksum says",
    Reason.BAD_SIDECAR: "the sidecar file is absent or damaged",
    Reason.BAD_MASK: "the mask is absent or damaged",
    Reason.CRASHED_DECODER: "the file makes its decoder crash",
    Reason.TIMED_OUT: "the file takes its decoder too long",
    Reason.PROGRAM_FAILED: "the program failed on it or its chunk",
    Reason.MULTI_FRAME: "the file holds several frames",
    Reason.LATERAL: "it is a lateral view",
    Reason.NOT_A_CHEST: "it is not a chest",
    Reason.WRONG_MODALITY: "it is not a radiograph (CT, for example)",
    Reason.NOT_FRONTAL: "it is not a frontal view",
    Reason.FOR_PROCESSING: "it is raw data, not for display",
    Reason.DUPLICATE: "another row shows the same image",
    Reason.NOT_IN_PROTOCOL: "the protocol does not use it",
    Reason.SUPERSEDED: "the file has changed since; its newer version has a row of its own",
}
"""Reason -> its words for a person."""
OF_THE_STORAGE = frozenset(
    {Reason.UNREADABLE, Reason.STORAGE_ABSENT, Reason.STORAGE_CUT, Reason.STORAGE_CHANGED},
)
"""Reasons that come from the storage, not from the image."""
AGAIN = OF_THE_STORAGE | {Reason.PROGRAM_FAILED}
"""Reasons for which the next run reads the image again without being asked."""
OF_THE_DECODER = frozenset({Reason.CRASHED_DECODER, Reason.TIMED_OUT})
"""Reasons of files that crashed or stalled their decoder. Such a file is fetched and tried twice before its row is
written."""
FAILURES = tuple(reason for reason, status in STATUS_OF.items() if status is Status.FAILED)
"""All reasons of failures. Nobody has read such an image, although it may be a patient's radiograph."""
ON_THE_WAY = frozenset(FAILURES) - {Reason.MODEL_FAILED, Reason.PROGRAM_FAILED} - OF_THE_DECODER
"""Failures that wrong bytes from the storage could also cause. Such an image is read once more before its row is
written."""


class ComitError(Exception):
    """Base of every error raised on purpose by comit_ray."""


class ConfigError(ComitError):
    """An option, key or value is wrong. Jobs print the error as one line and exit with status 2."""


class StorageError(ComitError):
    """A URI cannot be listed, read or written."""


class NotFoundError(StorageError):
    """There is nothing at the URI. A URI that exists but cannot be read raises another `StorageError`."""


class DamagedError(StorageError):
    """The bytes of one of our files are not those that were written."""


class ShortReadError(StorageError):
    """The storage gave fewer bytes than the file has."""


class OvertakenError(StorageError):
    """Another process has taken over the output, or has begun it anew, so this process must not write any more."""


class HeldError(StorageError):
    """Another driver works on the output, so this one does nothing."""


class BrokenArchiveError(StorageError):
    """A tar or zip file was read completely and is damaged. A storage that does not answer raises another error."""


class ManifestError(ComitError):
    """A dataset's table or a manifest does not have the expected form."""


class CheckpointError(ComitError):
    """A checkpoint or weights file is absent, incomplete, or not of the expected kind."""


class DecodeError(ComitError):
    """One image cannot, or must not, be scored.

    Args:
        reason: the code that goes into the tables.
        detail: one sentence for a person: what was expected and what came. It never holds a patient's name or id.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"

    @property
    def status(self) -> Status:
        """`Status.EXCLUDED` or `Status.FAILED`, as `STATUS_OF` says."""
        return STATUS_OF[self.reason]

"""Every error this package raises on purpose, and the reason codes of images that cannot be scored.

    ComitError                  anything below; its message says what was expected, what came, what to do
    ├── ConfigError             a wrong option, key or value                      (exit status 2)
    ├── StorageError            a URI that cannot be listed, read or written
    │   ├── NotFoundError       nothing lies at the URI
    │   ├── DamagedError        a file of ours whose bytes are not those that were written
    │   ├── ShortReadError      fewer bytes came than the file has
    │   ├── OvertakenError      an output that another process works on since
    │   ├── HeldError           an output that another driver works on
    │   └── BrokenArchiveError  an archive that was read, and is damaged
    ├── ManifestError           a source, table or manifest that breaks its format
    ├── CheckpointError         weights or a checkpoint that are absent, truncated or foreign
    └── DecodeError             one image that cannot or must not be scored; carries a `Reason`

Errors of libraries (pydicom, Pillow, pyarrow, boto3) are translated into these at the edge, where they happen.
"""

from enum import StrEnum


class Status(StrEnum):
    """What became of one image of the manifest. Every image ends as exactly one of these."""

    OK = "ok"
    EXCLUDED = "excluded"
    FAILED = "failed"


class Reason(StrEnum):
    """Why an image has no scores. `STATUS_OF` says which reasons exclude and which are failures."""

    # The file is not what it should be: somebody should look.
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
    # The file is sound, but no frontal chest radiograph: the model has nothing to say about it.
    MULTI_FRAME = "multi_frame"
    LATERAL = "lateral"
    NOT_A_CHEST = "not_a_chest"
    WRONG_MODALITY = "wrong_modality"
    NOT_FRONTAL = "not_frontal"
    FOR_PROCESSING = "for_processing"
    # The image is left out of a study on purpose: another row stands for it, or the protocol does not ask for it.
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
"""The one table that says whether a reason excludes an image or marks a failure."""

REASON_WORDS: dict[Reason, str] = {
    Reason.MISSING: "there is no file",
    Reason.STORAGE_ABSENT: "the storage showed nothing of the folder",
    Reason.STORAGE_CUT: "the storage gave fewer bytes than it listed",
    Reason.STORAGE_CHANGED: "the storage gave other bytes than it listed",
    Reason.UNREADABLE: "the storage refused the file",
    Reason.EMPTY: "the file is empty",
    Reason.NOT_AN_IMAGE: "the file is no image",
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
    Reason.NOT_FRONTAL: "it is no frontal view",
    Reason.FOR_PROCESSING: "it is raw data, not for display",
    Reason.DUPLICATE: "another row shows the same image",
    Reason.NOT_IN_PROTOCOL: "the protocol does not use it",
    Reason.SUPERSEDED: "the file has changed since; its newer version has a row of its own",
}
"""Reason -> what a person reads."""
OF_THE_STORAGE = frozenset(
    {Reason.UNREADABLE, Reason.STORAGE_ABSENT, Reason.STORAGE_CUT, Reason.STORAGE_CHANGED},
)
"""What the storage did, not what the image is."""
AGAIN = OF_THE_STORAGE | {Reason.PROGRAM_FAILED}
"""The next run reads these images again, without being told to."""
OF_THE_DECODER = frozenset({Reason.CRASHED_DECODER, Reason.TIMED_OUT})
"""What a file did to the process that decoded it. It was fetched and tried twice before its row is written."""
FAILURES = tuple(reason for reason, status in STATUS_OF.items() if status is Status.FAILED)
"""Every reason of an image that nobody has read though it may be a patient's radiograph."""
ON_THE_WAY = frozenset(FAILURES) - {Reason.MODEL_FAILED, Reason.PROGRAM_FAILED} - OF_THE_DECODER
"""Failures that bytes which came wrong could look like: such an image is read once more before its row is written."""


class ComitError(Exception):
    """Base of every error raised on purpose by comit_ray."""


class ConfigError(ComitError):
    """A wrong option, key or value. Jobs print it as one line and exit with status 2."""


class StorageError(ComitError):
    """A URI that cannot be listed, read or written."""


class NotFoundError(StorageError):
    """Nothing lies at the URI; distinct from a URI that exists and cannot be read."""


class DamagedError(StorageError):
    """A file of ours whose bytes are not those that were written."""


class ShortReadError(StorageError):
    """Fewer bytes came than the file has."""


class OvertakenError(StorageError):
    """Another process took over the output, or it was begun anew: this one must not write any more."""


class HeldError(StorageError):
    """Another driver works on the output: this one does nothing."""


class BrokenArchiveError(StorageError):
    """An archive whose bytes came as they are, and are damaged; distinct from a storage that does not answer."""


class ManifestError(ComitError):
    """A dataset's table or a manifest that does not have the form it should have."""


class CheckpointError(ComitError):
    """A checkpoint or weights file that is absent, incomplete, or not what it is said to be."""


class DecodeError(ComitError):
    """One image that cannot, or must not, be scored.

    Args:
        reason: the code that goes into the tables.
        detail: one sentence for a person: what was expected and what came. Never a patient's name or id.
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

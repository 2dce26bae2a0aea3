"""Defines the columns of the manifest and of the training table; `comit_ray.tables.schema` has the others."""

import pyarrow as pa

from comit_ray.tables.arrays import column, table_of

MANIFEST = table_of(
    "manifest",
    [
        column(
            "image_id", pa.string(), "dataset/relative path[!member], the same wherever it is mounted", nullable=False
        ),
        column("uri", pa.string(), "where the bytes are: an absolute path or s3:// URI", nullable=False),
        column("member", pa.string(), "name inside an archive; null for a plain file"),
        column("member_offset", pa.int64(), "byte where the member's header begins in an uncompressed tar; else null"),
        column(
            "sidecar",
            pa.string(),
            "file reference of the DICOM JSON whose tags turn stored values into display values; null: none",
        ),
        column("dataset", pa.string(), "the source it came from", nullable=False),
        column("site", pa.string(), "hospital or collection inside the source, where known"),
        column("patient_id", pa.string(), "dataset/patient, or a keyed hash for DICOM; null if unknown"),
        column("study_id", pa.string(), "dataset/study, or a keyed hash for DICOM; null if unknown"),
        column("view", pa.string(), "PA, AP, frontal (projection unknown), lateral or unknown", nullable=False),
        column("view_source", pa.string(), "the evidence for `view`: a column, a DICOM tag, or none", nullable=False),
        column("sex", pa.string(), "M, F or null"),
        column("age", pa.float32(), "years; null if unknown or above 120"),
        column("device", pa.string(), "manufacturer and model of the device, where known"),
        column("acquired_on", pa.date32(), "day of acquisition, where known and allowed"),
        column("illness_day", pa.int32(), "days since first symptoms or admission, where known"),
        column("findings", pa.list_(pa.string()), "the source's own labels, unchanged", nullable=False),
        column("unhealthy", pa.int8(), "1 any radiological finding, 0 none, null unknown (H of the paper)"),
        column("covid", pa.int8(), "1 COVID-19, 0 not, null unknown (C of the paper)"),
        column("other", pa.int8(), "1 a disease other than COVID-19, 0 none, null unknown (O of the paper)"),
        column(
            "lung_mask",
            pa.string(),
            "mask reference (comit_ray.data.masks.masks): a mask image, or boxes, polygons or runs; null if none",
        ),
        column("disease_mask", pa.string(), "mask reference, as `lung_mask`"),
        column(
            "checksum",
            pa.string(),
            "algorithm:hex digest of the file at `uri` (for a member, the archive), if known",
        ),
        column("excluded", pa.string(), "a reason code of comit_ray.errors.Reason, or null: to be used"),
        column("split_group", pa.string(), "patients with images alike share it, and so one split; null: the patient"),
        column(
            "split", pa.string(), "train, val or test; null for an excluded image, and for all of `screen --archive`"
        ),
        column("chunk", pa.string(), "unit of screening work this row belongs to", nullable=False),
        column("added_on", pa.date32(), "day (UTC) on which the row came into the manifest; null in older manifests"),
        column(
            "version",
            pa.int32(),
            "version of the file's bytes, from 1; the image_id of a later one ends in @2, @3, ...",
        ),
        column("file_size", pa.int64(), "bytes of the file, or of the member, as it was listed; null if it was not"),
        column(
            "file_tag",
            pa.string(),
            "another one means other bytes: the ETag of an object, time of change of a local file; of a member its "
            "archive's size and tag, and its own (CRC or time)",
        ),
    ],
)
LATE_COLUMNS = ("added_on", "version", "file_size", "file_tag")
"""Columns of the manifest that older manifests lack; they are null there."""

PREPARED = table_of(
    "images",
    [
        *(
            MANIFEST.field(name)
            for name in ("image_id", "dataset", "site", "patient_id", "split_group", "split", "view", "sex", "age")
        ),
        *(MANIFEST.field(name) for name in ("findings", "unhealthy", "covid", "other")),
        column("status", pa.string(), "ok, excluded or failed", nullable=False),
        column("reason", pa.string(), "reason code; null if ok"),
        column("detail", pa.string(), "one sentence for a person; null if ok"),
        column("height", pa.int32(), "pixels, of the original; null unless ok"),
        column("width", pa.int32(), "pixels, of the original; null unless ok"),
        column(
            "pixels",
            pa.binary(),
            "8-bit grey PNG or lossless WebP in the display sense, longest side at most 512 px; null unless ok, or "
            "kept of an excluded image as an example of what is no frontal chest",
        ),
        column("lung_mask", pa.string(), "mask reference that needs no file (boxes); null if none"),
        column("lung_png", pa.binary(), "PNG of any other lung mask, as large as it was drawn: 0, 1, 255 ignore"),
        column("disease_mask", pa.string(), "as `lung_mask`"),
        column("disease_png", pa.binary(), "as `lung_png`"),
    ],
)

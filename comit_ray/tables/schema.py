"""The tables, column by column: names, Arrow types, meanings and units, and the model's tasks.

Every table is a directory of Parquet files of plain types: DuckDB, pandas, Polars and Spark read them without Ray.
A column's meaning travels in its Arrow field metadata; the table's name and version in the schema metadata.
"""

import pyarrow as pa

SCHEMA_VERSION = "2"


def _field(name: str, type_: pa.DataType, meaning: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, type_, nullable=nullable, metadata={"meaning": meaning})


def _table(name: str, fields: list[pa.Field]) -> pa.Schema:
    return pa.schema(fields, metadata={"comit_ray.table": name, "comit_ray.version": SCHEMA_VERSION})


MANIFEST = _table(
    "manifest",
    [
        _field(
            "image_id", pa.string(), "dataset/relative path[!member], the same wherever it is mounted", nullable=False
        ),
        _field("uri", pa.string(), "where the bytes are: an absolute path or s3:// URI", nullable=False),
        _field("member", pa.string(), "name inside an archive; null for a plain file"),
        _field("member_offset", pa.int64(), "byte where the member's header begins in an uncompressed tar; else null"),
        _field(
            "sidecar",
            pa.string(),
            "file reference of the DICOM JSON whose tags turn stored values into display values; null: none",
        ),
        _field("dataset", pa.string(), "the source it came from", nullable=False),
        _field("site", pa.string(), "hospital or collection inside the source, where known"),
        _field("patient_id", pa.string(), "dataset/patient, or a keyed hash for DICOM; null if unknown"),
        _field("study_id", pa.string(), "dataset/study, or a keyed hash for DICOM; null if unknown"),
        _field("view", pa.string(), "PA, AP, frontal (projection unknown), lateral or unknown", nullable=False),
        _field("view_source", pa.string(), "the evidence for `view`: a column, a DICOM tag, or none", nullable=False),
        _field("sex", pa.string(), "M, F or null"),
        _field("age", pa.float32(), "years; null if unknown or above 120"),
        _field("device", pa.string(), "manufacturer and model of the device, where known"),
        _field("acquired_on", pa.date32(), "day of acquisition, where known and allowed"),
        _field("illness_day", pa.int32(), "days since first symptoms or admission, where known"),
        _field("findings", pa.list_(pa.string()), "the source's own labels, unchanged", nullable=False),
        _field("unhealthy", pa.int8(), "1 any radiological finding, 0 none, null unknown (H of the paper)"),
        _field("covid", pa.int8(), "1 COVID-19, 0 not, null unknown (C of the paper)"),
        _field("other", pa.int8(), "1 a disease other than COVID-19, 0 none, null unknown (O of the paper)"),
        _field(
            "lung_mask",
            pa.string(),
            "mask reference (comit_ray.data.masks.masks): a mask image, or boxes, polygons or runs; null if none",
        ),
        _field("disease_mask", pa.string(), "mask reference, as `lung_mask`"),
        _field(
            "checksum",
            pa.string(),
            "algorithm:hex digest of the file at `uri` (for a member, the archive), if known",
        ),
        _field("excluded", pa.string(), "a reason code of comit_ray.errors.Reason, or null: to be used"),
        _field("split_group", pa.string(), "patients with images alike share it, and so one split; null: the patient"),
        _field("split", pa.string(), "train, val or test; null for an excluded image"),
        _field("chunk", pa.string(), "unit of screening work this row belongs to", nullable=False),
    ],
)

PREPARED = _table(
    "images",
    [
        *(
            MANIFEST.field(name)
            for name in ("image_id", "dataset", "site", "patient_id", "split_group", "split", "view", "sex", "age")
        ),
        *(MANIFEST.field(name) for name in ("findings", "unhealthy", "covid", "other")),
        _field("status", pa.string(), "ok, excluded or failed", nullable=False),
        _field("reason", pa.string(), "reason code; null if ok"),
        _field("detail", pa.string(), "one sentence for a person; null if ok"),
        _field("height", pa.int32(), "pixels, of the original; null unless ok"),
        _field("width", pa.int32(), "pixels, of the original; null unless ok"),
        _field(
            "pixels",
            pa.binary(),
            "8-bit grey PNG or lossless WebP in the display sense, longest side at most 512 px; null unless ok",
        ),
        _field("lung_mask", pa.string(), "mask reference that needs no file (boxes); null if none"),
        _field("lung_png", pa.binary(), "PNG of any other lung mask, as large as it was drawn: 0, 1, 255 ignore"),
        _field("disease_mask", pa.string(), "as `lung_mask`"),
        _field("disease_png", pa.binary(), "as `lung_png`"),
    ],
)

_FRACTION = pa.float32()

PREDICTIONS = _table(
    "predictions",
    [
        _field("image_id", pa.string(), "as in the manifest; exactly one row an image", nullable=False),
        _field("status", pa.string(), "ok, excluded or failed", nullable=False),
        _field("reason", pa.string(), "reason code; null if ok"),
        _field("detail", pa.string(), "one sentence for a person; null if ok"),
        _field("p_unhealthy", _FRACTION, "score 0..1 of the health head; null unless ok and the model has it"),
        _field("p_covid", _FRACTION, "score 0..1 of COVID-19; null unless ok and the model has it"),
        _field("p_other", _FRACTION, "score 0..1 of other disease; null unless ok and the model has it"),
        _field("covid_flag", pa.bool_(), "p_covid >= its threshold at the operating point. Not flagged is not normal"),
        _field("unhealthy_flag", pa.bool_(), "p_unhealthy >= its threshold at the operating point"),
        _field(
            "operating_point",
            pa.string(),
            "name of the operating point that decided the flags; null unless ok and the model has a score",
        ),
        _field(
            "calibration",
            pa.string(),
            "none: scores as the model gives them; temperature: log-odds divided by the temperatures in run.json; null "
            "where there is no score, and in tables older than this column (their scores are as the model gave them)",
        ),
        _field("lung_area", _FRACTION, "predicted lung, fraction of the frame"),
        _field("disease_area", _FRACTION, "predicted disease, fraction of the frame"),
        _field(
            "disease_in_lung",
            _FRACTION,
            "predicted disease inside predicted lung, fraction of the lung; null if no lung",
        ),
        _field(
            "zone_disease",
            pa.list_(pa.float32()),
            "diseased fraction of 6 lung zones: right upper, middle, lower, left upper, middle, lower "
            "(the patient's right); null if no lung",
        ),
        _field(
            "embedding_distance",
            _FRACTION,
            "Mahalanobis distance of the embedding from the training images', in standard deviations a direction: "
            "about 1 for an image like theirs; null unless ok and the checkpoint remembers its training data",
        ),
        _field(
            "typicality",
            _FRACTION,
            "share 0..1 of the checkpoint's validation images that lie at least as far; near 0: unlike what it knows",
        ),
        _field("pixel_mean", _FRACTION, "mean grey value of the frame, 0 black to 1 white; null unless ok"),
        _field("pixel_sd", _FRACTION, "standard deviation of the grey values, of white; null unless ok"),
        _field("pixel_black", _FRACTION, "share of the frame's pixels that are black; null unless ok"),
        _field("pixel_white", _FRACTION, "share of the frame's pixels that are white; null unless ok"),
        _field("height", pa.int32(), "pixels, of the original"),
        _field("width", pa.int32(), "pixels, of the original"),
        _field("view", pa.string(), "view used: the manifest's, or the DICOM header's where the manifest has none"),
        _field(
            "model_id",
            pa.string(),
            "hash of the checkpoint's weights; of an embedding classifier, of all it was fitted from",
            nullable=False,
        ),
        _field("run_id", pa.string(), "the run that wrote the row (run.json)", nullable=False),
        _field("screened_at", pa.timestamp("ms", tz="UTC"), "when the chunk was predicted", nullable=False),
    ],
)

MASKS = _table(
    "masks",
    [
        _field("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        _field("lung_png", pa.binary(), "1-bit PNG at the model's frame; null if the model has no lung head"),
        _field("disease_png", pa.binary(), "1-bit PNG at the model's frame; null if the model has no disease head"),
        _field("frame_height", pa.int32(), "pixels, of the masks", nullable=False),
        _field("frame_width", pa.int32(), "pixels, of the masks", nullable=False),
        _field("fit", pa.string(), "how the original fills the frame: stretch or letterbox", nullable=False),
        _field("original_top", pa.float32(), "frame row where the original begins", nullable=False),
        _field("original_left", pa.float32(), "frame column where the original begins", nullable=False),
        _field("rows_per_pixel", pa.float32(), "frame rows per row of the original", nullable=False),
        _field("columns_per_pixel", pa.float32(), "frame columns per column of the original", nullable=False),
    ],
)

REVIEW_QUEUE = _table(
    "review_queue",
    [
        _field("rank", pa.int32(), "reading order, from 1; images of one study follow each other", nullable=False),
        _field("image_id", pa.string(), "as in the manifest", nullable=False),
        _field("reasons", pa.list_(pa.string()), "why a radiologist should look, most urgent first", nullable=False),
        _field("score", _FRACTION, "p_covid, or p_unhealthy where the model has no covid head; null if not scored"),
        _field(
            "sampling_weight",
            pa.float32(),
            "images this one stands for: above 1 only for random negatives",
            nullable=False,
        ),
        _field("uri", pa.string(), "where the image is", nullable=False),
        _field("member", pa.string(), "name inside an archive; null for a plain file"),
        _field("study_id", pa.string(), "as in the manifest"),
        _field("view", pa.string(), "PA, AP, frontal, lateral or unknown"),
        _field("age", pa.float32(), "years"),
        _field("sex", pa.string(), "M, F or null"),
        _field("status", pa.string(), "ok, excluded or failed", nullable=False),
        _field("reason", pa.string(), "reason code; null if ok"),
        _field("detail", pa.string(), "one sentence; null if ok"),
        _field("p_unhealthy", _FRACTION, "as in predictions"),
        _field("p_covid", _FRACTION, "as in predictions"),
        _field("p_other", _FRACTION, "as in predictions"),
        _field("calibration", pa.string(), "as in predictions"),
        _field("covid_flag", pa.bool_(), "as in predictions"),
        _field("disease_in_lung", _FRACTION, "as in predictions"),
        _field("operating_point", pa.string(), "as in predictions"),
        _field("model_id", pa.string(), "as in predictions", nullable=False),
    ],
)

EMBEDDINGS = _table(
    "embeddings",
    [
        _field("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        _field("embedding", pa.list_(pa.float16()), "encoder output after global average pooling", nullable=False),
    ],
)

GRADCAM = _table(
    "gradcam",
    [
        _field("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        _field(
            "covid_png",
            pa.binary(),
            "8-bit grey PNG at the model's frame: where p_covid comes from, 255 the map's highest value, all 0 where "
            "the map is nowhere positive; null if the model has no such head, or the map is not finite",
        ),
        _field("unhealthy_png", pa.binary(), "as `covid_png`, of p_unhealthy"),
    ],
)

VARIANTS = _table(
    "variants",
    [
        _field("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        _field(
            "variant",
            pa.string(),
            "how the image was altered before it was scored: lungs_only (all else black), lungs_removed "
            "(black: their convex hull, and a little beyond), borders_cropped (a tenth of every side black)",
            nullable=False,
        ),
        _field("p_covid", pa.float32(), "as in `predictions`, of the altered image; null if it could not be made"),
        _field("p_unhealthy", pa.float32(), "as `p_covid`"),
        _field("p_other", pa.float32(), "as `p_covid`"),
        _field("reason", pa.string(), "why there are no scores; null if there are"),
    ],
)

REVIEWS = _table(
    "reviews",
    [
        _field("image_id", pa.string(), "as in the manifest", nullable=False),
        _field("reader", pa.string(), "who read it: a pseudonym, the same for all of a reader's rows", nullable=False),
        _field("abnormal", pa.bool_(), "the reader sees a radiological abnormality; null: could not say"),
        _field("covid", pa.bool_(), "the reader suspects COVID-19; null: could not say, or was not asked"),
        _field("read_at", pa.timestamp("ms", tz="UTC"), "when; the last reading of a reader counts"),
    ],
)

EXPORTS = _table(
    "exports",
    [
        _field("image_id", pa.string(), "as in predictions", nullable=False),
        _field("format", pa.string(), "seg, sr, sc, gsps or reviews", nullable=False),
        _field("subject", pa.string(), "what tells several objects of an image and format apart: reader and time"),
        _field("sop_instance_uid", pa.string(), "of the object, by hash; null if none could be made"),
        _field("series_instance_uid", pa.string(), "of its series, by hash; null if none could be made"),
        _field("destination", pa.string(), "URL of the DICOMweb server, or URI of the directory", nullable=False),
        _field(
            "status",
            pa.string(),
            "stored: it is there, by the server's own search or as a file; refused: it is not, or could not be made",
            nullable=False,
        ),
        _field("answer", pa.string(), "the server's words, or why there is no object; without the patient's identity"),
        _field("bytes", pa.int64(), "of the object's file; null if none could be made"),
        _field("model_id", pa.string(), "as in predictions", nullable=False),
        _field("run_id", pa.string(), "as in predictions", nullable=False),
        _field("exported_at", pa.timestamp("ms", tz="UTC"), "when the answer came", nullable=False),
    ],
)

_TRIAL = [
    _field("trial", pa.string(), "id of the trial: its directory's name in runs/ and results/", nullable=False),
    _field("variant", pa.string(), "what is compared: the point of the study's axes, in words", nullable=False),
    _field("seed", pa.int32(), "seed of initial weights and order; of an embedding classifier, of its network too"),
]

TRIALS = _table(
    "trials",
    [
        *_TRIAL,
        _field("study", pa.string(), "name of the study", nullable=False),
        _field(
            "kind", pa.string(), "network, or embedding_classifier (fitted on a network's embeddings)", nullable=False
        ),
        _field("model", pa.string(), "name of the network or of the classifier's method", nullable=False),
        _field("tasks", pa.list_(pa.string()), "heads of the network, labels of the classifier", nullable=False),
        _field("status", pa.string(), "ok, stopped (by the study's scheduler) or failed", nullable=False),
        _field("detail", pa.string(), "why it failed or was stopped; null if ok"),
        _field("config", pa.string(), "its resolved configuration, as JSON", nullable=False),
        _field("config_digest", pa.string(), "12 hex digits of `config`", nullable=False),
        _field("split", pa.string(), "the split that was scored, and the figures below are of", nullable=False),
        _field("epochs", pa.int32(), "epochs trained; null for an embedding classifier"),
        _field("best_epoch", pa.int32(), "epoch of the checkpoint that was scored, from 1"),
        _field("val_loss", pa.float64(), "its loss on the validation split"),
        _field("val_auroc", pa.float64(), "its AUROC for COVID-19 on the validation split"),
        _field(
            "val_judged", pa.float64(), "its figure by which the search judged it (run.json: search.metric); or null"
        ),
        _field("auroc", pa.float64(), "of COVID-19"),
        _field("eer", pa.float64(), "equal error rate of COVID-19"),
        _field("sensitivity_at_90", pa.float64(), "to COVID-19, at 90% specificity on the scored images themselves"),
        _field("sensitivity_at_99", pa.float64(), "as `sensitivity_at_90`, at 99%"),
        _field("unhealthy_auroc", pa.float64(), "of unhealthy"),
        _field("lung_iou", pa.float64(), "mean over images"),
        _field("disease_tpr", pa.float64(), "pooled over pixels"),
        _field("disease_precision", pa.float64(), "pooled over pixels"),
        _field("model_id", pa.string(), "as in predictions; null unless ok"),
        _field("results", pa.string(), "where its screen's tables are, relative to the study; null unless ok"),
        _field("attempts", pa.int32(), "times it was begun, those after a failure and after a resume too"),
        _field("seconds", pa.float64(), "wall time of its last attempt"),
        _field("finished_at", pa.timestamp("ms", tz="UTC"), "when", nullable=False),
    ],
)

STUDY_PREDICTIONS = _table("study_predictions", [*_TRIAL, *PREDICTIONS])

TABLES: dict[str, pa.Schema] = {
    "manifest": MANIFEST,
    "images": PREPARED,
    "predictions": PREDICTIONS,
    "masks": MASKS,
    "review_queue": REVIEW_QUEUE,
    "embeddings": EMBEDDINGS,
    "gradcam": GRADCAM,
    "reviews": REVIEWS,
    "exports": EXPORTS,
    "trials": TRIALS,
    "study_predictions": STUDY_PREDICTIONS,
}

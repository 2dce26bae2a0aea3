"""Columns of every table of results: names, Arrow types, meanings, units. The manifest has `manifest_schema`.

Every table is a directory of Parquet files of plain types: DuckDB, pandas, Polars and Spark read them without Ray.
A column's meaning is in its Arrow field metadata; the table's name and version are in the schema metadata.
"""

import pyarrow as pa

from comit_ray.tables.arrays import column, table_of
from comit_ray.tables.manifest_schema import MANIFEST, PREPARED
from comit_ray.tables.review_schema import EXPORTS, PERIODS, REVIEWS
from comit_ray.tables.vocabulary import SPECIFICITIES

_FRACTION = pa.float32()

PREDICTIONS = table_of(
    "predictions",
    [
        column("image_id", pa.string(), "as in the manifest; exactly one row per image", nullable=False),
        column("status", pa.string(), "ok, excluded or failed", nullable=False),
        column("reason", pa.string(), "reason code; null if ok"),
        column("detail", pa.string(), "one sentence for a person; null if ok"),
        column("p_unhealthy", _FRACTION, "score 0..1 of the health head; null unless ok and the model has it"),
        column("p_covid", _FRACTION, "score 0..1 of COVID-19; null unless ok and the model has it"),
        column("p_other", _FRACTION, "score 0..1 of other disease; null unless ok and the model has it"),
        column("covid_flag", pa.bool_(), "p_covid >= its threshold at the operating point. Not flagged is not normal"),
        column("unhealthy_flag", pa.bool_(), "p_unhealthy >= its threshold at the operating point"),
        column(
            "operating_point",
            pa.string(),
            "name of the operating point that decided the flags; null unless ok and the model has a score",
        ),
        column(
            "calibration",
            pa.string(),
            "none: scores as the model gives them; temperature: log-odds divided by the temperatures in run.json; null "
            "where there is no score, and in tables older than this column (their scores are as the model gave them)",
        ),
        column("lung_area", _FRACTION, "predicted lung, fraction of the frame"),
        column("disease_area", _FRACTION, "predicted disease, fraction of the frame"),
        column(
            "disease_in_lung",
            _FRACTION,
            "predicted disease inside predicted lung, fraction of the lung; null if no lung",
        ),
        column(
            "zone_disease",
            pa.list_(pa.float32()),
            "diseased fraction of 6 lung zones: right upper, middle, lower, left upper, middle, lower "
            "(the patient's right); null if no lung",
        ),
        column(
            "severity",
            _FRACTION,
            "extent of disease in the lungs, 0..18: three times the sum of zone_disease, a zone without lung as the "
            "mean of the others; on the scale of the Brixia score, and not that score; null if no lung",
        ),
        column(
            "embedding_distance",
            _FRACTION,
            "Mahalanobis distance of the embedding from the training images', in standard deviations a direction: "
            "about 1 for an image like theirs; null unless ok and the checkpoint remembers its training data",
        ),
        column(
            "typicality",
            _FRACTION,
            "share 0..1 of the checkpoint's validation images that lie at least as far; near 0: unlike what it knows",
        ),
        column(
            "p_frontal_chest",
            _FRACTION,
            "0..1, below 0.5 for what looks like no frontal chest (a lateral, a CT slice, another part of the body); "
            "no probability; null unless ok and the checkpoint has a check",
        ),
        column("pixel_mean", _FRACTION, "mean grey value of the frame, 0 black to 1 white; null unless ok"),
        column("pixel_sd", _FRACTION, "standard deviation of the grey values, of white; null unless ok"),
        column("pixel_black", _FRACTION, "share of the frame's pixels that are black; null unless ok"),
        column("pixel_white", _FRACTION, "share of the frame's pixels that are white; null unless ok"),
        column("height", pa.int32(), "pixels, of the original"),
        column("width", pa.int32(), "pixels, of the original"),
        column("view", pa.string(), "view used: the manifest's, or the DICOM header's where the manifest has none"),
        column(
            "model_id",
            pa.string(),
            "hash of the checkpoint's weights; of an embedding classifier, of all it was fitted from",
            nullable=False,
        ),
        column("run_id", pa.string(), "the run that wrote the row (run.json)", nullable=False),
        column("screened_at", pa.timestamp("ms", tz="UTC"), "when the chunk was predicted", nullable=False),
    ],
)

MASKS = table_of(
    "masks",
    [
        column("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        column(
            "lung_png",
            pa.binary(),
            "1-bit PNG at the model's frame; null if there is no lung head or --masks left it out",
        ),
        column(
            "disease_png",
            pa.binary(),
            "1-bit PNG at the model's frame; null if there is no disease head or --masks left it out",
        ),
        column("frame_height", pa.int32(), "pixels, of the masks", nullable=False),
        column("frame_width", pa.int32(), "pixels, of the masks", nullable=False),
        column("fit", pa.string(), "how the original fills the frame: stretch or letterbox", nullable=False),
        column("original_top", pa.float32(), "frame row where the original begins", nullable=False),
        column("original_left", pa.float32(), "frame column where the original begins", nullable=False),
        column("rows_per_pixel", pa.float32(), "frame rows per row of the original", nullable=False),
        column("columns_per_pixel", pa.float32(), "frame columns per column of the original", nullable=False),
    ],
)

REVIEW_QUEUE = table_of(
    "review_queue",
    [
        column("rank", pa.int32(), "reading order, from 1; images of one study follow each other", nullable=False),
        column("image_id", pa.string(), "as in the manifest", nullable=False),
        column("reasons", pa.list_(pa.string()), "why a radiologist should look, most urgent first", nullable=False),
        column("score", _FRACTION, "p_covid, or p_unhealthy where the model has no covid head; null if not scored"),
        column(
            "sampling_weight",
            pa.float32(),
            "images this one stands for: above 1 only for random negatives",
            nullable=False,
        ),
        column("uri", pa.string(), "where the image is", nullable=False),
        column("member", pa.string(), "name inside an archive; null for a plain file"),
        column("study_id", pa.string(), "as in the manifest"),
        column("view", pa.string(), "PA, AP, frontal, lateral or unknown"),
        column("age", pa.float32(), "years"),
        column("sex", pa.string(), "M, F or null"),
        column("status", pa.string(), "ok, excluded or failed", nullable=False),
        column("reason", pa.string(), "reason code; null if ok"),
        column("detail", pa.string(), "one sentence; null if ok"),
        column("p_unhealthy", _FRACTION, "as in predictions"),
        column("p_covid", _FRACTION, "as in predictions"),
        column("p_other", _FRACTION, "as in predictions"),
        column("calibration", pa.string(), "as in predictions"),
        column("covid_flag", pa.bool_(), "as in predictions"),
        column("disease_in_lung", _FRACTION, "as in predictions"),
        column("p_frontal_chest", _FRACTION, "as in predictions"),
        column("operating_point", pa.string(), "as in predictions"),
        column("model_id", pa.string(), "as in predictions", nullable=False),
        column("severity", _FRACTION, "as in predictions"),
        column(
            "flag_trusted",
            pa.bool_(),
            "false: the archive does not look like the training data (drift.json), and no threshold was calibrated on "
            "it; null: not known, or not scored",
        ),
        column(
            "placed_by",
            pa.string(),
            "block of the queue: the reason that gave the study its place; severity: ordered by severity; "
            "random_order: in random order, because flags are not trusted; null in older queues",
        ),
    ],
)

SCREENED_IMAGES = table_of(
    "screened_images",
    [
        MANIFEST.field(name)
        for name in (
            *("image_id", "uri", "member", "dataset", "site", "patient_id", "study_id", "view", "sex", "age", "device"),
            *("acquired_on", "illness_day", "unhealthy", "covid", "other", "excluded", "split", "added_on", "version"),
        )
    ]
    + [
        column("superseded_by", pa.string(), "image_id of the newer version of the file; null: this is the newest"),
        column("gone_on", pa.date32(), "day (UTC) since which the file is not in the archive; null: it is"),
    ],
)

UNREAD = table_of(
    "unread",
    [
        column("image_id", pa.string(), "as in the manifest", nullable=False),
        column("path", pa.string(), "where the image is; inside an archive `uri!member`", nullable=False),
        *(MANIFEST.field(name) for name in ("dataset", "site", "study_id", "acquired_on")),
        column("status", pa.string(), "ok, excluded or failed", nullable=False),
        column("reason", pa.string(), "reason code; beyond_capacity: the queue had no room for it", nullable=False),
        column("why", pa.string(), "the reason in words", nullable=False),
        column("detail", pa.string(), "one sentence for a person; null if ok"),
        column("score", _FRACTION, "as in the review queue; null if not scored"),
        column("queue_rank", pa.int32(), "place in the review queue; null if it is not in the queue"),
    ],
)

EMBEDDINGS = table_of(
    "embeddings",
    [
        column("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        column("embedding", pa.list_(pa.float16()), "encoder output after global average pooling", nullable=False),
    ],
)

GRADCAM = table_of(
    "gradcam",
    [
        column("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        column(
            "covid_png",
            pa.binary(),
            "8-bit grey PNG at the model's frame: where p_covid comes from, 255 the map's highest value, all 0 where "
            "the map is nowhere positive; null if the model has no such head, or the map is not finite",
        ),
        column("unhealthy_png", pa.binary(), "as `covid_png`, of p_unhealthy"),
    ],
)

VARIANTS = table_of(
    "variants",
    [
        column("image_id", pa.string(), "as in the manifest; only images with status ok", nullable=False),
        column(
            "variant",
            pa.string(),
            "how the image was altered before it was scored: lungs_only (all else black), lungs_removed "
            "(black: their convex hull, and a little beyond), borders_cropped (a tenth of every side black)",
            nullable=False,
        ),
        column("p_covid", pa.float32(), "as in `predictions`, of the altered image; null if it could not be made"),
        column("p_unhealthy", pa.float32(), "as `p_covid`"),
        column("p_other", pa.float32(), "as `p_covid`"),
        column("reason", pa.string(), "why there are no scores; null if there are"),
    ],
)

_TRIAL = [
    column("trial", pa.string(), "id of the trial: its directory's name in runs/ and results/", nullable=False),
    column("variant", pa.string(), "what is compared: the point of the study's axes, in words", nullable=False),
    column("seed", pa.int32(), "seed of initial weights and order; of an embedding classifier, of its network too"),
]

TRIALS = table_of(
    "trials",
    [
        *_TRIAL,
        column("study", pa.string(), "name of the study", nullable=False),
        column(
            "kind", pa.string(), "network, or embedding_classifier (fitted on a network's embeddings)", nullable=False
        ),
        column("model", pa.string(), "name of the network or of the classifier's method", nullable=False),
        column("tasks", pa.list_(pa.string()), "heads of the network, labels of the classifier", nullable=False),
        column("status", pa.string(), "ok, stopped (by the study's scheduler) or failed", nullable=False),
        column("detail", pa.string(), "why it failed or was stopped; null if ok"),
        column("config", pa.string(), "resolved configuration, as JSON", nullable=False),
        column("config_digest", pa.string(), "12 hex digits of `config`", nullable=False),
        column("split", pa.string(), "the split that was scored, and the figures below are of", nullable=False),
        column("epochs", pa.int32(), "epochs trained; null for an embedding classifier"),
        column("best_epoch", pa.int32(), "epoch of the checkpoint that was scored, from 1"),
        column("val_loss", pa.float64(), "loss on the validation split"),
        column("val_auroc", pa.float64(), "AUROC for COVID-19 on the validation split"),
        column(
            "val_judged", pa.float64(), "value of the search's metric (run.json: search.metric); null without a search"
        ),
        column("auroc", pa.float64(), "AUROC for COVID-19"),
        column("eer", pa.float64(), "equal error rate of COVID-19"),
        *(
            column(
                f"sensitivity_at_{100 * specificity:g}",
                pa.float64(),
                f"to COVID-19, at {100 * specificity:g}% specificity on the scored images themselves",
            )
            for specificity in SPECIFICITIES
        ),
        column("unhealthy_auroc", pa.float64(), "AUROC for unhealthy"),
        column("lung_iou", pa.float64(), "mean over images"),
        column("disease_tpr", pa.float64(), "pooled over pixels"),
        column("disease_precision", pa.float64(), "pooled over pixels"),
        column("model_id", pa.string(), "as in predictions; null unless ok"),
        column("results", pa.string(), "where its screen's tables are, relative to the study; null unless ok"),
        column("attempts", pa.int32(), "times it was begun, those after a failure and after a resume too"),
        column("seconds", pa.float64(), "wall time of its last attempt"),
        column("finished_at", pa.timestamp("ms", tz="UTC"), "when", nullable=False),
    ],
)

STUDY_PREDICTIONS = table_of("study_predictions", [*_TRIAL, *PREDICTIONS])

TABLES: dict[str, pa.Schema] = {
    "manifest": MANIFEST,
    "images": PREPARED,
    "predictions": PREDICTIONS,
    "masks": MASKS,
    "review_queue": REVIEW_QUEUE,
    "screened_images": SCREENED_IMAGES,
    "unread": UNREAD,
    "embeddings": EMBEDDINGS,
    "gradcam": GRADCAM,
    "reviews": REVIEWS,
    "exports": EXPORTS,
    "periods": PERIODS,
    "trials": TRIALS,
    "study_predictions": STUDY_PREDICTIONS,
}

"""Defines the tables that follow a screen: verdicts, objects sent to a PACS, and the counts of the monitor.

`comit_ray.tables.schema` lists them with the other tables.
"""

import pyarrow as pa

from comit_ray.tables.arrays import column, table_of

REVIEWS = table_of(
    "reviews",
    [
        column("image_id", pa.string(), "as in the manifest", nullable=False),
        column("reader", pa.string(), "who read it: a pseudonym, the same for all of a reader's rows", nullable=False),
        column("abnormal", pa.bool_(), "the reader sees a radiological abnormality; null: could not say"),
        column("covid", pa.bool_(), "the reader suspects COVID-19; null: could not say, or was not asked"),
        column("read_at", pa.timestamp("ms", tz="UTC"), "time of the reading; the last one of a reader counts"),
        # Columns of the reading room; null in tables from another origin.
        column("revision", pa.int32(), "number of the reader's verdict on this image, from 1; the highest counts"),
        column("role", pa.string(), "first, second or adjudicator"),
        column(
            "verdict",
            pa.string(),
            "abnormal, normal, cannot_tell, broken (no readable frontal chest), or withdrawn: the reader took it back",
        ),
        column(
            "category",
            pa.string(),
            "typical, indeterminate, atypical or negative for COVID-19 pneumonia, as the RSNA has it (Simpson 2020); "
            "`covid` is true for typical, false for atypical and negative, null for indeterminate",
        ),
        column("findings", pa.list_(pa.string()), "codes of the findings that the reader ticked"),
        column(
            "zones",
            pa.list_(pa.int8()),
            "severity 0..3 of 6 lung zones, in the order of `zone_disease`; null for a zone, or at all: not given",
        ),
        column("confidence", pa.int8(), "1 guessing to 5 certain; null: not given"),
        column("comment", pa.string(), "the reader's own words; null if none"),
        column("seconds", pa.float32(), "seconds for which the page showed the image, without pauses"),
        column("blinded", pa.bool_(), "scores, flags, reasons and masks were hidden from the reader"),
        column("model_id", pa.string(), "model of the screen whose queue was read"),
        column("run_id", pa.string(), "run of the screen whose queue was read"),
        column("shown_at", pa.timestamp("ms", tz="UTC"), "when the image was first shown for this verdict"),
        column("submission", pa.string(), "the page's own id of the verdict: sent twice, it is stored once"),
    ],
)

EXPORTS = table_of(
    "exports",
    [
        column("image_id", pa.string(), "as in predictions", nullable=False),
        column("format", pa.string(), "seg, sr, sc, gsps or reviews", nullable=False),
        column("subject", pa.string(), "reader and time, which tell several objects of one image and format apart"),
        column("sop_instance_uid", pa.string(), "UID of the object, made by hash; null if there is no object"),
        column("series_instance_uid", pa.string(), "UID of its series, made by hash; null if there is no object"),
        column("destination", pa.string(), "URL of the DICOMweb server, or URI of the directory", nullable=False),
        column(
            "status",
            pa.string(),
            "stored: it is there, by the server's own search or as a file; refused: it is not, or could not be made",
            nullable=False,
        ),
        column("answer", pa.string(), "the server's words, or why there is no object; without the patient's identity"),
        column("bytes", pa.int64(), "size of the object's file; null if there is no object"),
        column("model_id", pa.string(), "as in predictions", nullable=False),
        column("run_id", pa.string(), "as in predictions", nullable=False),
        column("exported_at", pa.timestamp("ms", tz="UTC"), "when the answer came", nullable=False),
    ],
)

PERIODS = table_of(
    "periods",
    [
        column("kind", pa.string(), "all, site, device or view", nullable=False),
        column(
            "group",
            pa.string(),
            "name of the site, device or view; an unknown site has its dataset's name",
            nullable=False,
        ),
        column("start", pa.date32(), "first day of the day or week, in UTC", nullable=False),
        column("images", pa.int64(), "rows of predictions", nullable=False),
        column("scored", pa.int64(), "images with status ok", nullable=False),
        column("failed", pa.int64(), "images with status failed", nullable=False),
        column("excluded", pa.int64(), "images with status excluded", nullable=False),
        column("judged", pa.int64(), "images with a flag, true or false", nullable=False),
        column("flagged", pa.int64(), "images whose flag is true", nullable=False),
        column("score_25", pa.float64(), "a quarter of the scores are at most this; null without a score"),
        column("score_50", pa.float64(), "median of the scores"),
        column("score_75", pa.float64(), "three quarters of the scores are at most this"),
        column("read", pa.int64(), "images with a verdict", nullable=False),
        column("turnaround", pa.float64(), "median hours from the screen to the first verdict; null if none is read"),
        column("decided", pa.int64(), "images with a flag on which readers decided", nullable=False),
        column("agreeing", pa.int64(), "decided images on which flag and readers agree", nullable=False),
        column("flagged_decided", pa.int64(), "decided images whose flag is true", nullable=False),
        column("confirmed", pa.int64(), "flagged and decided images that readers confirm", nullable=False),
        column("model_id", pa.string(), "model of the images; one of them if there were two", nullable=False),
        column("failed_by_reason", pa.list_(pa.string()), "each `reason: images`", nullable=False),
    ],
)

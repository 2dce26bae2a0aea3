"""Chooses a threshold for a site from verdicts or confirmatory tests, and writes the file that `screen` takes."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from comit_ray.checkpoint import operating_points
from comit_ray.checkpoint.operating_points import Threshold
from comit_ray.config.reading_config import CalibrateConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, Status
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import interval, number
from comit_ray.reading import archive_estimates, cases, site_thresholds, store
from comit_ray.reading.site_thresholds import Recommended, Row
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.screening.screen_tables import stage_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.staging import Staged, staging
from comit_ray.tables.vocabulary import ReviewReason

COLUMNS = {"covid": "covid", "unhealthy": "abnormal"}
"""Score -> the column of the verdicts that holds its truth."""
_MANIFEST = ("image_id", "patient_id", "age", "sex", "view", "site")
_MODEL = ("model_id", "calibration")


def write(config: CalibrateConfig) -> str:
    """Write thresholds.csv, calibration.json and operating_points.json to `config.output`.

    Returns:
        Four lines for the terminal: the threshold, what it reaches, a warning, and how to use it.

    Raises:
        ConfigError: no threshold can be recommended, with the reason; or the tests are not a valid table.
        ComitError: a table cannot be read or written.
    """
    scored, judged = known(config)
    rows = site_thresholds.table(
        judged,
        scored,
        site_thresholds.grid(judged["score"].to_numpy(), config.steps),
        config.cost_screened,
        config.cost_read,
    )
    output = storage.normalise(config.output)
    storage.write_bytes(storage.join(output, "thresholds.csv"), _table(rows).csv().encode())
    best = site_thresholds.recommend(
        judged,
        scored,
        sensitivity=config.sensitivity,
        capacity=config.capacity,
        fewest=config.minimum_positives,
        draws=config.draws,
        seed=config.seed,
        costs=(config.cost_screened, config.cost_read),
    )
    model_id, calibration = _one(scored, "model_id"), _one(scored, "calibration")
    record: dict[str, Any] = {
        "model_id": model_id,
        "calibration": calibration,
        "settings": config.model_dump(mode="json"),
    }
    record |= {"recommended": _record(best), "judged": len(judged), "scored": len(scored)}
    storage.write_bytes(storage.join(output, "calibration.json"), json.dumps(record, indent=1).encode())
    if best.threshold is None or best.at is None:
        raise ConfigError(
            f"no operating point can be recommended: {best.reason}; {output}/thresholds.csv has the table"
        )
    document: operating_points.Document = {
        config.name: {str(config.score): _threshold(best, best.at, model_id, calibration)}
    }
    storage.write_bytes(storage.join(output, "operating_points.json"), operating_points.to_json(document))
    return "\n".join(_said(config, best, best.at, judged, output))


def known(config: CalibrateConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load all scored images, and those of them whose truth is known.

    Returns:
        Two tables: every scored image with its score and the columns of its groups, words as categories; and the judged
            images, with image_id, patient_id, `truth` and `weight` as well.

    Raises:
        ConfigError: no image has a known truth, or the model has no such score.
    """
    results = storage.normalise(config.results)
    queue = parquet.read_part(storage.join(results, QUEUE_FILE)).to_pandas()
    truth = (
        _tests(config.tests)
        if config.tests
        else archive_estimates.reference(store.read_current(results), COLUMNS[config.score])
    )
    with staging(config.memory_gib) as tables:
        fields = [schema.PREDICTIONS.field(name) for name in ("image_id", "status", f"p_{config.score}", *_MODEL)]
        stage_predictions(tables, "predictions", results, fields)
        uri = cases.manifest_of(results, config.manifest)
        tables.add("manifest", manifest.part_uris(uri), [MANIFEST.field(name) for name in _MANIFEST])
        tables.add_batches("truths", pa.table({"image_id": pa.array(truth, pa.string())}))
        scored, judged = (_scored(tables, config.score, only_judged=one) for one in (False, True))
    if scored.empty:
        raise ConfigError(f"{results} has no p_{config.score}: its model has no such head, or nothing was scored")
    sampling = "all" if config.tests and config.tests_sampling == "all" else "queue"
    weights = _weights(queue, truth, sampling, judged["image_id"].tolist(), len(scored))
    judged = judged[judged["image_id"].isin(weights.keys())].copy()
    if judged.empty:
        raise ConfigError("no scored image has a deciding verdict or test: read some images of the queue first")
    judged["truth"] = [truth[image_id] for image_id in judged["image_id"]]
    judged["weight"] = [weights[image_id] for image_id in judged["image_id"]]
    return scored, judged


def _scored(tables: Staged, score: str, *, only_judged: bool) -> pd.DataFrame:
    """Scored images with the columns of their groups, in order: all, without ids, or those with a truth, with ids."""
    words = ("sex", "view", "site", *_MODEL)
    columns = ["p.image_id", "m.patient_id"] if only_judged else []
    columns += [f"p.p_{score} AS score", "m.age", *words]
    which = "AND p.image_id IN (SELECT image_id FROM truths)" if only_judged else ""
    rows = tables.table(
        f"SELECT {', '.join(columns)} FROM predictions p LEFT JOIN manifest m USING (image_id) "  # noqa: S608 our words
        f"WHERE p.status = '{Status.OK}' AND p.p_{score} IS NOT NULL {which} ORDER BY p.rowid"
    )
    found: pd.DataFrame = rows.to_pandas(categories=[] if only_judged else list(words))
    return found


def _weights(
    queue: pd.DataFrame, truth: dict[str, bool], sampling: str, known: Sequence[str], scored: int
) -> dict[str, float]:
    """image_id -> number of archive images that it stands for; `known` are the scored ones that have a truth.

    This is the size of its stratum, divided by the number of images of the stratum with a known truth.
    """
    if sampling == "all":
        return dict.fromkeys(known, scored / max(1, len(known)))
    outside = sorted(truth.keys() - set(queue["image_id"]))
    if outside:
        raise ConfigError(
            f"{len(outside):,} tested images, such as {outside[0]}, are not in the queue, so they have no weight: "
            "give --tests_sampling all if all images were tested alike, or remove them from the table"
        )
    random = queue["reasons"].map(lambda reasons: [*map(str, reasons)] == [str(ReviewReason.RANDOM_NEGATIVE)])
    found: dict[str, float] = {}
    for stratum in (queue[random], queue[~random & (queue["status"] == Status.OK)]):
        mine = [image_id for image_id in stratum["image_id"] if image_id in truth]
        stands_for = float(stratum["sampling_weight"].sum()) / max(1, len(mine))
        found |= dict.fromkeys(mine, stands_for)
    return found


def _tests(uri: str) -> dict[str, bool]:
    """Read a table of tests: image_id -> whether the confirmatory test was positive.

    Raises:
        ConfigError: the table does not have the expected form.
    """
    if uri.endswith(".csv"):
        with storage.open_stream(uri) as stream:
            table = csv.read_csv(stream)
    else:
        table = parquet.read_table(uri)
    if not {"image_id", "result"} <= set(table.column_names):
        raise ConfigError(f"{uri}: expected the columns image_id and result, got {', '.join(table.column_names)}")
    rows = table.select(["image_id", "result"]).to_pandas().dropna()
    wrong = rows[~rows["result"].isin([0, 1, True, False])]
    if len(wrong):
        raise ConfigError(f"{uri}: expected results of 1 (positive) or 0 (negative), got {wrong['result'].iloc[0]!r}")
    twice = rows[rows.duplicated("image_id")]
    if len(twice):
        raise ConfigError(f"{uri}: expected one result per image, got several for {twice['image_id'].iloc[0]}")
    return {str(image_id): bool(result) for image_id, result in rows.itertuples(index=False)}


def _one(scored: pd.DataFrame, column: str) -> str:
    values = sorted({"none" if pd.isna(value) else str(value) for value in scored[column].unique()})
    if len(values) > 1:
        raise ConfigError(f"expected scores of one {column}, got {', '.join(values)}: a threshold holds for one only")
    return values[0]


def _threshold(best: Recommended, at: Row, model_id: str, calibration: str) -> Threshold:
    return Threshold(
        threshold=best.threshold,
        specificity=at.specificity,
        sensitivity=at.sensitivity,
        positives=at.judged_positive,
        negatives=at.judged - at.judged_positive,
        model_id=model_id,
        calibration="temperature" if calibration == "temperature" else "none",
    )


def _record(best: Recommended) -> dict[str, Any]:
    ends = {"sensitivity": best.sensitivity, "specificity": best.specificity, "threshold": best.moved}
    intervals = {name: None if one is None else [one.low, one.high] for name, one in ends.items()}
    at = None if best.at is None else best.at.to_json()
    return {"threshold": best.threshold, "at": at, "intervals": intervals, "reason": best.reason}


def _said(config: CalibrateConfig, best: Recommended, at: Row, judged: pd.DataFrame, output: str) -> list[str]:
    assert at.sensitivity is not None, "there are positives"
    aim = (
        f"a reading capacity of {config.capacity:,}" if config.capacity else f"a sensitivity of {config.sensitivity:g}"
    )
    span = best.sensitivity
    ends = f" {interval(span.low, span.high)}" if span and span.low is not None and span.high is not None else ""
    given = f"p_{config.score} >= {best.threshold:.6g}, from {len(judged):,} images, {at.judged_positive:,} positive"
    specificity = "undefined" if at.specificity is None else number(at.specificity)
    return [
        f"for {aim}: {given}",
        f"sensitivity {number(at.sensitivity)}{ends}, specificity {specificity}, {at.images_read:,} images to read",
        "the threshold was chosen on these same images: expect a somewhat lower sensitivity on others",
        f"screen --operating_points {output}/operating_points.json --operating_point {config.name}",
    ]


def _table(rows: list[Row]) -> Table:
    columns = tuple(Row.__dataclass_fields__)
    cells = tuple(tuple("" if value is None else f"{value}" for value in row.to_json().values()) for row in rows)
    return Table("Thresholds", columns, cells)

"""Compares predicted severity with readers' scores, and gives metrics and a chapter of the report.

Predicted severity is the extent of disease in the lungs (`severity`, 0 to 18). The readers' score is a sum over six
lung zones of 0 to 3 each, as the Brixia score (Borghesi and Maroldi 2020, La radiologia medica 125:509). Ranks are
compared by Spearman's coefficient. Values are compared as they are, and after a monotone fit (isotonic regression,
PAVA) that has not seen the patient on which it is tested.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.stats import rankdata

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import ConfigError, Status
from comit_ray.evaluation.report.document import Chapter, Table
from comit_ray.screening.mask_tables import ZONES
from comit_ray.screening.mask_tables import severity as of_zones
from comit_ray.screening.screen_tables import PREDICTIONS, rows_of
from comit_ray.statistics.intervals import Interval, bootstrap, patient_codes
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

GREATEST, GREATEST_OF_ZONE, FOLDS, FEWEST = 18, 3, 5, 10
FILE = "severity.json"
FIT_FILE = "severity_fit.csv"
STEP = 0.1
"""Of the predicted severity in the file of the fit."""
ZONE_COLUMNS = tuple(zone.replace(" ", "_") for zone in ZONES)
"""Columns of the table with a reader's score of each zone, 0 to 3; right is the patient's right."""
FloatN = npt.NDArray[np.float64]
Statistic = Callable[[npt.NDArray[np.int64]], float | None]
"""Row numbers of images -> the metric over these images."""


@dataclass(frozen=True)
class Agreement:
    """One metric of the agreement between prediction and readers.

    Args:
        metric: name of the metric.
        value: its value; None if it is undefined.
        low: lower end of its 95% interval; None without an interval.
        high: upper end of the interval; None without an interval.
        images: number of images.
        patients: number of patients.
        of: `severity`, or the name of a zone.
        reason: why there is no value or no interval; None if there is one.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    images: int
    patients: int
    of: str
    reason: str | None = None


def chapter(config: EvaluateConfig, uri: str) -> Chapter:
    """Makes the chapter "Severity"; writes its metrics to severity.json and the fit to severity_fit.csv.

    Args:
        config: options of the job, with `results`.
        uri: URI of a CSV with the columns `image_id` and `severity` (0 to 18), and optionally each zone (`right_upper`,
            ...).

    Raises:
        ConfigError: the file is no such table, or has too few images in common with the results.
        StorageError: a table cannot be read, or the file cannot be written.
    """
    assert config.results is not None, "the configuration asks for results"
    images = join(config.results, config.manifest, uri)
    found = agreement(images, config.draws, config.seed)
    written = json.dumps([asdict(one) for one in found], indent=1)
    output = storage.normalise(config.output)
    storage.write_bytes(storage.join(output, FILE), written.encode())
    storage.write_bytes(storage.join(output, FIT_FILE), fit_table(images).to_csv(index=False).encode())
    rows = tuple((one.of, one.metric, _printed(one), str(one.images), str(one.patients)) for one in found)
    note = (
        "Square brackets give 95% intervals from bootstrap draws of patients. MAE is the mean absolute error on the "
        "scale from 0 to 18. After a fit means: after isotonic regression, a monotone fit, on the other four fifths of "
        "the patients. Fit severity to your own data before you read it as a reader's score. "
        f"{FIT_FILE} is the fit on all these images: it changes the scale and not the order."
    )
    columns = ("severity or zone", "metric", "value", "images", "patients")
    table = Table("Severity compared with readers' scores", columns, rows, note)
    rank = found[0]
    said = (
        f"Over {counted(rank.images, 'image')} of {counted(rank.patients, 'patient')}, the Spearman coefficient "
        f"between predicted severity and the readers' scores is {_printed(rank)}. A coefficient of 1 means the same "
        "order, 0 means no relation."
    )
    return Chapter("severity", "Severity", (said,), {"severity": table})


def join(results: str, manifest: str, uri: str) -> pd.DataFrame:
    """Scored images with a reader's score: image_id, patient_id, severity, zones, and the CSV's columns as `read_...`.

    Args:
        results: URI of a screen's output.
        manifest: URI of the manifest, with the patients.
        uri: URI of the CSV of `chapter`.

    Raises:
        ConfigError: as `chapter` raises.
    """
    readers = pd.read_csv(io.BytesIO(storage.read_bytes(storage.normalise(uri))), dtype={"image_id": str})
    missing = [name for name in ("image_id", "severity") if name not in readers.columns]
    if missing:
        raise ConfigError(
            f"--severity {uri}: expected the columns image_id and severity, got {', '.join(map(str, readers.columns))}"
        )
    if readers["image_id"].duplicated().any():
        raise ConfigError(
            f"--severity {uri}: expected each image_id once, got "
            f"{readers['image_id'][readers['image_id'].duplicated()].iloc[0]} twice"
        )
    zones = [name for name in ZONE_COLUMNS if name in readers.columns]
    for name, greatest in {"severity": GREATEST, **dict.fromkeys(zones, GREATEST_OF_ZONE)}.items():
        values = pd.to_numeric(readers[name], errors="coerce")
        wrong = readers[(values.isna() & readers[name].notna()) | (values < 0) | (values > greatest)]
        if len(wrong):
            raise ConfigError(
                f"--severity {uri}: expected a number from 0 to {greatest} in {name}, got {wrong[name].iloc[0]} for "
                f"{wrong['image_id'].iloc[0]}"
            )
        readers[name] = values
    readers = readers[["image_id", "severity", *zones]].rename(
        columns=lambda name: name if name == "image_id" else f"read_{name}"
    )
    # Of a large archive few images are read, so files are looked through one after the other.
    ids = pa.array(readers["image_id"], pa.string())
    found = rows_of(results, PREDICTIONS, ids, ())
    if "zone_disease" not in found.column_names:
        found = found.append_column("zone_disease", pa.nulls(found.num_rows))
    predictions = found.select(["image_id", "status", "zone_disease"]).to_pandas()
    scored = predictions[(predictions["status"] == Status.OK) & predictions["zone_disease"].notna()]
    scored = scored.assign(
        severity=[of_zones([None if pd.isna(z) else z for z in zones]) for zones in scored["zone_disease"]]
    )
    patients = parquet.read_rows(manifest, readers["image_id"]).select(["image_id", "patient_id"]).to_pandas()
    images = scored.merge(readers[readers["read_severity"].notna()], on="image_id").merge(
        patients, on="image_id", how="left"
    )
    if len(images) < FEWEST:
        raise ConfigError(
            f"--severity {uri}: expected a predicted severity for at least {FEWEST} of its images, got {len(images)} "
            f"of {len(readers)}: give each image_id as it is in the manifest"
        )
    in_order: pd.DataFrame = images.sort_values("image_id", ignore_index=True)
    return in_order


def agreement(images: pd.DataFrame, draws: int, seed: int) -> list[Agreement]:
    """Spearman's coefficient, quadratic kappa and MAE of the sum, before and after a fit; Spearman for each zone read.

    Args:
        images: result of `join`.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    read, predicted = (images[name].to_numpy(np.float64) for name in ("read_severity", "severity"))
    fitted = out_of_fold(predicted, read, patient_codes(images["patient_id"]))
    found = _measured(
        images,
        {
            "spearman": lambda rows: spearman(predicted[rows], read[rows]),
            "quadratic_kappa": lambda rows: quadratic_kappa(predicted[rows], read[rows]),
            "mae": lambda rows: float(np.abs(predicted[rows] - read[rows]).mean()),
            "quadratic_kappa_after_fit": lambda rows: quadratic_kappa(fitted[rows], read[rows]),
            "mae_after_fit": lambda rows: float(np.abs(fitted[rows] - read[rows]).mean()),
        },
        "severity",
        draws,
        seed,
    )
    for place, name in enumerate(ZONE_COLUMNS):
        if f"read_{name}" in images.columns:
            zone = pd.to_numeric(pd.Series([zones[place] for zones in images["zone_disease"]], images.index))
            known = images.assign(zone=zone)[zone.notna() & images[f"read_{name}"].notna()]
            found += _measured(known, {"spearman": _ranked(known, name)}, name, draws, seed)
    return found


def _ranked(images: pd.DataFrame, name: str) -> Statistic:
    zone_N, read_N = (images[column].to_numpy(np.float64) for column in ("zone", f"read_{name}"))
    return lambda rows: spearman(zone_N[rows], read_N[rows])


def spearman(first_N: FloatN, second_N: FloatN) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None if one variable has one value alone."""
    first, second = rankdata(first_N), rankdata(second_N)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.asarray(np.corrcoef(np.stack([first, second])))[0, 1])


def quadratic_kappa(predicted_N: FloatN, read_N: FloatN) -> float | None:
    """Cohen's kappa of rounded scores with quadratic weights (Cohen 1968); None if all scores are equal."""
    first, second = np.rint(predicted_N), np.rint(read_N)
    chance = np.mean((first[:, None] - second[None, :]) ** 2)
    return None if chance == 0 else float(1 - np.mean((first - second) ** 2) / chance)


def _monotone(predicted_N: FloatN, read_N: FloatN) -> Callable[[FloatN], FloatN]:
    from sklearn.isotonic import IsotonicRegression  # imported late, because it takes seconds and few reports need it

    fit = IsotonicRegression(y_min=0, y_max=GREATEST, out_of_bounds="clip").fit(predicted_N, read_N)
    return lambda values_N: np.asarray(fit.predict(values_N), dtype=np.float64)


def fit_table(images: pd.DataFrame) -> pd.DataFrame:
    """The monotone fit on all images: `severity` from 0 to 18 in tenths, `readers_score` that goes with it.

    Args:
        images: of `join`.
    """
    read, predicted = (images[name].to_numpy(np.float64) for name in ("read_severity", "severity"))
    grid = np.round(np.arange(0, GREATEST + STEP / 2, STEP), 1)
    return pd.DataFrame({"severity": grid, "readers_score": np.round(_monotone(predicted, read)(grid), 3)})


def out_of_fold(predicted_N: FloatN, read_N: FloatN, patients_N: npt.NDArray[np.int64]) -> FloatN:
    """Each prediction brought to the readers' scale by a monotone fit on the patients of the other folds."""
    fitted = np.empty(len(predicted_N))
    for fold in range(FOLDS):
        held = patients_N % FOLDS == fold
        rest = ~held
        if not held.any():
            continue
        if not rest.any():
            raise ConfigError("--severity: expected images of several patients for the fit, got images of one patient")
        fitted[held] = _monotone(predicted_N[rest], read_N[rest])(predicted_N[held])
    return fitted


def _measured(
    images: pd.DataFrame, metrics: Mapping[str, Statistic], of: str, draws: int, seed: int
) -> list[Agreement]:
    patients = int(patient_codes(images["patient_id"]).max(initial=-1)) + 1
    everything = np.arange(len(images))
    whole = {name: metric(everything) if len(images) else None for name, metric in metrics.items()}
    intervals: dict[str, Interval] = {}
    if len(images):
        intervals = bootstrap(lambda rows: {n: m(rows) for n, m in metrics.items()}, images["patient_id"], draws, seed)
    found = []
    for name, value in whole.items():
        if value is None:
            found.append(Agreement(name, None, None, None, len(images), patients, of, "all images have one value"))
        else:
            ends = intervals[name]
            found.append(Agreement(name, value, ends.low, ends.high, len(images), patients, of, ends.reason))
    return found


def _printed(one: Agreement) -> str:
    if one.value is None:
        return f"not known: {one.reason}"
    ends = "" if one.low is None or one.high is None else f" [{one.low:.3f}, {one.high:.3f}]"
    return f"{one.value:.3f}{ends}"

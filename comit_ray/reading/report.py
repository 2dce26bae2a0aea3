"""Writes the chapter "Readers" of a report: agreement of readers, and estimates for the whole archive."""

from collections.abc import Iterator, Mapping
from itertools import combinations

import pandas as pd
import pyarrow as pa

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import Status
from comit_ray.evaluation import subgroups
from comit_ray.evaluation.report import printing
from comit_ray.evaluation.report.document import Chapter, Table
from comit_ray.reading import agreement, archive_estimates, store
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.screening.screen_tables import stage_predictions
from comit_ray.statistics.intervals import Interval, bootstrap, varied, wilson
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.staging import MEMORY_GIB, staging
from comit_ray.tables.vocabulary import ReviewReason

TRUTHS = {
    "covid": ("covid_flag", "COVID-19, by a typical appearance"),
    "abnormal": ("unhealthy_flag", "Any abnormality"),
}
"""Column of the verdicts -> the flag that it judges, and its name in the report."""
ATTRIBUTES = ("age", "sex", "view", "site")
FEW = 10
MODEL = "the model"
"""Stands in place of a reader's name where the model's flags are compared. No reader's name has a space."""
Truths = Mapping[str, Mapping[str, bool]]
"""Column of the verdicts -> image_id -> truth."""


def chapters(config: EvaluateConfig) -> list[Chapter]:
    """Return the chapter if `config.reviews` lies beside `config.results`; otherwise an empty list.

    Raises:
        ComitError: as `chapter`.
    """
    if config.reviews is None or config.results is None:
        return []
    results = storage.normalise(config.results)
    if storage.normalise(config.reviews) != storage.join(results, store.DIRECTORY):
        return []
    return [chapter(results, config.manifest, config.draws, config.seed, config.subgroup_minimum, config.memory_gib)]


def chapter(
    results: str,
    manifest_uri: str,
    draws: int = 1000,
    seed: int = 0,
    minimum: int = FEW,
    memory_gib: float = MEMORY_GIB,
) -> Chapter:
    """Write what the verdicts beside `results` say. The chapter needs no labels.

    Args:
        results: URI of a screen's output with reviews/.
        manifest_uri: URI of its manifest, for patients and subgroups.
        draws: number of draws of every bootstrap.
        seed: seed of the draws.
        minimum: smallest number of patients for which a subgroup's figures are given.
        memory_gib: memory of the database that finds the rows of the images that were read, in GiB.

    Raises:
        NotFoundError: there are no verdicts.
        StorageError: a table cannot be read.
    """
    verdicts = store.read_current(results)
    queue = parquet.read_part(storage.join(results, QUEUE_FILE)).to_pandas()
    ids = pa.array(pd.concat([verdicts["image_id"], queue["image_id"]]).unique(), pa.string())
    predictions, people, scored = _rows_of(results, manifest_uri, ids, memory_gib)
    read = verdicts.merge(people, on="image_id", how="left")
    truths = {column: archive_estimates.reference(verdicts, column) for column in TRUTHS}
    tables = {
        "readers": _readers(verdicts),
        "readers_agreement": _agreement(read, draws, seed),
        "readers_archive": _archive(truths, queue, predictions, scored),
        "readers_reasons": _reasons(truths, queue, people, draws, seed),
        "readers_groups": _agreement_by_group(verdicts, predictions, people, draws, seed, minimum),
        "readers_subgroups": _subgroups(truths, predictions, people, draws, seed, minimum),
    }
    return Chapter(
        "readers", "Readers", _said(verdicts, queue), {name: one for name, one in tables.items() if one.rows}
    )


def _rows_of(
    results: str, manifest_uri: str, image_ids: pa.Array, memory_gib: float
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Predictions and manifest rows of these images alone, and flag -> number of all scored images that have it."""
    flags = [flag for flag, _ in TRUTHS.values()]
    with staging(memory_gib) as tables:
        fields = [schema.PREDICTIONS.field(name) for name in ("image_id", "status", *flags)]
        stage_predictions(tables, "predictions", results, fields)
        columns = ("image_id", "patient_id", *ATTRIBUTES)
        tables.add("manifest", manifest.part_uris(manifest_uri), [MANIFEST.field(name) for name in columns])
        tables.add_batches("wanted", pa.table({"image_id": image_ids}))
        predictions, people = (
            tables.table(
                f"SELECT {', '.join(names)} FROM {name} "  # noqa: S608 words of ours
                f"WHERE image_id IN (SELECT image_id FROM wanted) ORDER BY {name}.rowid"
            ).to_pandas()
            for name, names in (("predictions", [field.name for field in fields]), ("manifest", columns))
        )
        counts = tables.rows(
            f"SELECT {', '.join(f'count({flag})' for flag in flags)} FROM predictions WHERE status = '{Status.OK}'"  # noqa: S608
        )[0]
    return predictions, people, dict(zip(flags, map(int, counts), strict=True))


def _said(verdicts: pd.DataFrame, queue: pd.DataFrame) -> list[str]:
    images, readers = verdicts["image_id"].nunique(), verdicts["reader"].nunique()
    blinded = int(verdicts["blinded"].fillna(False).astype(bool).sum())
    people = (
        f"{readers} reader{'s' if readers > 1 else ''} judged {images:,} of {len(queue):,} images of the review queue"
    )
    return [
        f"{people}; {blinded:,} of {len(verdicts):,} verdicts were given without seeing the model's result.",
        "Figures for the archive treat the verdicts as the truth. Their intervals do not include readers' errors.",
    ]


def _readers(verdicts: pd.DataFrame) -> Table:
    rows = []
    for reader, mine in verdicts.groupby("reader", sort=True):
        seconds = mine["seconds"].dropna().astype(float)
        shares = [f"{int((mine['verdict'] == verdict).sum()):,}" for verdict in store.VERDICTS[:-1]]
        quarter = [f"{value:.1f}" for value in seconds.quantile([0.5, 0.25, 0.75])] if len(seconds) else ["", "", ""]
        time = f"{quarter[0]} ({quarter[1]} to {quarter[2]})" if len(seconds) else ""
        rows.append((str(reader), f"{len(mine):,}", *shares, time))
    columns = ("reader", "images", *(verdict.replace("_", " ") for verdict in store.VERDICTS[:-1]), "seconds per image")
    return Table(
        "What readers saw", columns, tuple(rows), "Seconds: median and quartiles of the time that an image was visible."
    )


def _agreement(read: pd.DataFrame, draws: int, seed: int) -> Table:
    """Compare every two readers of the same images, without adjudications, because an adjudicator saw both verdicts."""
    own = read[read["role"] != "adjudicator"]
    rows = []
    for one, other in combinations(sorted(own["reader"].unique()), 2):
        both = own[own["reader"] == one].merge(own[own["reader"] == other], on="image_id", suffixes=("", "_other"))
        for what, first, second, categories, patients in _questions(both):
            found = agreement.with_intervals(first, second, categories, patients, draws, seed)
            cells = [_cell(*found[name]) for name in agreement.METRICS]
            rows.append((f"{one}, {other}", what, f"{len(first):,}", *cells))
    columns = ("readers", "question", "judged by both", "agreement", "kappa", "kappa, quadratic", "AC1 (Gwet)")
    return Table("How far readers agree", columns, tuple(rows), "Square brackets: 95%, by a bootstrap of patients.")


def _questions(both: pd.DataFrame) -> Iterator[tuple[str, list[int], list[int], int, list[object]]]:
    """Yield for each question: its name, both readers' categories, the number of categories, and the patients."""
    for column in TRUTHS:
        known = both[both[column].notna() & both[f"{column}_other"].notna()]
        if len(known):
            one, other = (known[name].astype(bool).astype(int).tolist() for name in (column, f"{column}_other"))
            yield column, one, other, 2, known["patient_id"].tolist()
    first: list[int] = []
    second: list[int] = []
    patients: list[object] = []
    for mine, theirs, patient in zip(both["zones"], both["zones_other"], both["patient_id"], strict=True):
        if mine is None or theirs is None:
            continue
        for a, b in zip(mine, theirs, strict=True):
            if a is not None and b is not None:
                first.append(int(a))
                second.append(int(b))
                patients.append(patient)
    if first:
        yield "severity of zones", first, second, 4, patients


def _agreement_by_group(
    verdicts: pd.DataFrame, predictions: pd.DataFrame, people: pd.DataFrame, draws: int, seed: int, minimum: int
) -> Table:
    """Compare readers with each other, and each reader with the model's flags, for every subgroup."""
    own = verdicts[verdicts["role"] != "adjudicator"]
    rows = []
    for column, (flag, words) in TRUTHS.items():
        said = {str(reader): _answers(mine, column) for reader, mine in own.groupby("reader")}
        pairs = [*combinations(said, 2), *((reader, MODEL) for reader in said)]
        said[MODEL] = _answers(predictions, flag)
        for one, other in pairs:
            both = {image: (said[one][image], said[other][image]) for image in said[one] if image in said[other]}
            known = people[people["image_id"].isin(both.keys())]
            for attribute in ATTRIBUTES:
                for name, group in subgroups.grouped(known, attribute).items() if len(known) else ():
                    cells = _by_two([both[image_id] for image_id in group["image_id"]], group, draws, seed, minimum)
                    rows.append((f"{one}, {other}", words, name, f"{len(group):,}", *cells))
    note = (
        f"Groups of fewer than {minimum} patients get no figure. The queue has a larger share of flagged images than "
        "the archive, so this agreement with the model is that on the queue."
    )
    columns = ("who", "question", "group", "judged by both", "agreement", "AC1 (Gwet)")
    return Table("How far readers agree with each other and with the model, by subgroup", columns, tuple(rows), note)


def _answers(rows: pd.DataFrame, column: str) -> dict[str, bool]:
    """image_id -> yes or no, for the rows that have an answer."""
    known = rows[rows[column].notna()]
    return {str(image): bool(value) for image, value in zip(known["image_id"], known[column], strict=True)}


def _by_two(
    pairs: list[tuple[bool, bool]], group: pd.DataFrame, draws: int, seed: int, minimum: int
) -> tuple[str, str]:
    """Agreement and AC1 of two who answered yes or no for the same images."""
    patients = group["patient_id"].fillna(group["image_id"])
    if patients.nunique() < minimum:
        return "too few", "too few"
    first, second = ([int(pair[at]) for pair in pairs] for at in (0, 1))
    found = agreement.with_intervals(first, second, 2, patients, draws, seed)
    return _cell(*found["agreement"]), _cell(*found["ac1"])


def _archive(truths: Truths, queue: pd.DataFrame, predictions: pd.DataFrame, scored: Mapping[str, int]) -> Table:
    rows = []
    for column, (flag, words) in TRUTHS.items():
        if not scored[flag] or not truths[column]:
            continue
        for name, one in archive_estimates.estimate(
            archive_estimates.counts(predictions, queue, truths[column], flag, scored[flag])
        ).items():
            value = (
                one.reason
                if one.value is None
                else _cell(one.value, Interval(one.low, one.high, archive_estimates.METHOD))
            )
            rows.append((words, name, str(value)))
    note = (
        "These figures describe the scored images of this archive, at the operating point of the flags. Only a random "
        "sample of the images without a reason was read, and the interval covers this uncertainty: "
        f"{archive_estimates.METHOD}. Images that no reader could judge are left out."
    )
    return Table("What the verdicts say of the whole archive", ("truth", "figure", "estimate"), tuple(rows), note)


def _reasons(truths: Truths, queue: pd.DataFrame, people: pd.DataFrame, draws: int, seed: int) -> Table:
    rows = []
    known = queue[["image_id", "reasons"]].merge(people, on="image_id", how="left")
    for reason in ReviewReason:
        mine = known[[str(reason) in map(str, reasons) for reasons in known["reasons"]]]
        cells = []
        for column in ("abnormal", "covid"):
            truth = truths[column]
            decided = mine[mine["image_id"].isin(truth.keys())]
            hits = [truth[image_id] for image_id in decided["image_id"]]
            cells.append(_share(hits, decided["patient_id"], draws, seed))
        if len(mine):
            rows.append((str(reason), f"{len(mine):,}", *cells))
    columns = ("reason", "images in the queue", "share judged abnormal", "share judged COVID-like (typical)")
    return Table("What readers found, by reason of the queue", columns, tuple(rows))


def _subgroups(
    truths: Truths, predictions: pd.DataFrame, people: pd.DataFrame, draws: int, seed: int, minimum: int
) -> Table:
    """The share of flagged images that readers confirm, for every subgroup."""
    rows = []
    for column, (flag, words) in TRUTHS.items():
        truth = truths[column]
        flagged = predictions[(predictions["status"] == Status.OK) & (predictions[flag] == True)]  # noqa: E712 nulls are no flags
        mine = flagged[flagged["image_id"].isin(truth.keys())][["image_id"]].merge(people, on="image_id", how="left")
        for attribute in ATTRIBUTES:
            for name, group in subgroups.grouped(mine, attribute).items() if len(mine) else ():
                hits = [truth[image_id] for image_id in group["image_id"]]
                patients = group["patient_id"].nunique(dropna=True) + int(group["patient_id"].isna().sum())
                cell = _share(hits, group["patient_id"], draws, seed) if patients >= minimum else "too few"
                rows.append((words, name, f"{len(group):,}", cell))
    note = f"Groups of fewer than {minimum} patients get no figure. Only flagged images count: all are in the queue."
    return Table(
        "Flags that readers confirm, by subgroup",
        ("truth", "group", "flagged and judged", "confirmed"),
        tuple(rows),
        note,
    )


def _share(hits: list[bool], patients: pd.Series, draws: int, seed: int) -> str:
    """A share with its interval: Wilson's if every patient has one image, else by a bootstrap of patients."""
    if not hits:
        return "not judged"
    value = sum(hits) / len(hits)
    if not patients.dropna().duplicated().any():
        return _cell(value, wilson(sum(hits), len(hits))) + f" (n={len(hits):,})"
    interval = bootstrap(lambda rows: {"share": sum(hits[row] for row in rows) / len(rows)}, patients, draws, seed)
    return _cell(value, varied(interval["share"])) + f" (n={len(hits):,})"


def _cell(value: float | None, interval: Interval) -> str:
    if value is None:
        return "undefined"
    if interval.low is None or interval.high is None:
        return printing.number(value)
    return f"{printing.number(value)} {printing.interval(interval.low, interval.high)}"

"""The monitor on made-up nights: what is counted, which chart alarms in which night, and what is written."""

import json
from datetime import date, timedelta

import pandas as pd
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.errors import ManifestError, NotFoundError
from comit_ray.evaluation.monitor import watch_charts, watch_counts, watch_report
from comit_ray.tables.review_schema import REVIEWS
from tests.evaluation.monitor import programme
from tests.support import write_rows

NIGHTS = (0, 1, 2, 4, 5, 6)  # the third was missed
SICK = "X2 at north"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """300 images, then 40 a night; in the last night one device is brighter. A verdict each on 30 of the first."""
    root = tmp_path_factory.mktemp("programme")
    nights = [programme.night(n, 300 if n == 0 else 40, seed=1, drifted=SICK if n == 6 else None) for n in NIGHTS]
    programme.write(root, nights)
    scored = [row for row in nights[0] if row["status"] == "ok"][:30]
    verdicts = []
    for number, row in enumerate(scored):
        right = row["covid_flag"] if number % 3 else not row["covid_flag"]
        at = row["screened_at"] + timedelta(hours=10)
        said = {"image_id": row["image_id"], "reader": "anna", "covid": right, "read_at": at, "revision": 1}
        verdicts.append(said | {"verdict": "abnormal" if right else "normal"})
    changed = verdicts[0] | {"revision": 2, "verdict": "withdrawn", "covid": None}
    differs = verdicts[1] | {"reader": "ben", "covid": not verdicts[1]["covid"]}
    write_rows(root / "reviews", [*verdicts, changed, differs], REVIEWS)
    return root


@pytest.fixture(scope="module")
def frame(results) -> pd.DataFrame:
    known = pq.read_table(results / "images", columns=["image_id", "site", "device"]).to_pandas()
    return pq.read_table(results / "predictions", partitioning=None).to_pandas().merge(known, on="image_id")


@pytest.fixture(scope="module")
def counted(results):
    return watch_counts.count(MonitorConfig(results=str(results)))


def test_what_is_counted_is_what_pandas_counts(counted, frame):
    day = frame["screened_at"].dt.date
    device = frame["device"] + " at " + frame["site"]
    for kind, names in (("site", frame["site"]), ("device", device), ("view", frame["view"])):
        mine = {(one.group, one.start): one for one in counted.periods if one.kind == kind}
        groups = dict(iter(frame.groupby([names, day])))
        assert mine.keys() == groups.keys()
        for key, rows in groups.items():
            found = mine[key]
            assert (found.images, found.failed) == (len(rows), (rows["status"] == "failed").sum())
            assert (found.judged, found.flagged) == (
                rows["covid_flag"].notna().sum(),
                rows["covid_flag"].fillna(False).astype(bool).sum(),
            )
            assert found.quartiles == pytest.approx(rows["p_covid"].quantile([0.25, 0.5, 0.75]).tolist(), rel=1e-6)
            assert sum(found.bins["pixel_mean"]) == rows["pixel_mean"].notna().sum()
            assert found.reasons == rows["reason"].value_counts().to_dict()


def test_verdicts_count_as_the_reading_room_counts_them(counted):
    first = next(one for one in counted.periods if one.kind == "all")
    assert first.read == 29  # one was withdrawn
    assert first.decided == 28  # on one the readers differ
    assert first.agreeing == 28 - 9
    assert first.turnaround == pytest.approx(10, abs=0.01)
    assert first.flagged_decided >= first.confirmed


def test_the_alarm_comes_in_the_night_of_the_drift_and_names_the_device(counted, results):
    config = MonitorConfig(results=str(results))
    watched = watch_charts.watch(counted, config)
    assert watched.last == date(2024, 3, 10)
    assert [(one.kind, one.group, one.signal) for one in watched.alarms] == [("device", SICK, "pixel_mean")]
    assert watched.earlier == []
    said = watch_charts.sentences(watched, counted, config)
    assert said[0].startswith(f"WARNING: device {SICK}, 2024-03-10: ")
    assert "mean grey value outside the range" in said[0]


def test_the_page_the_alarms_and_the_metrics_say_the_same(results, tmp_path):
    output, said = watch_report.write(MonitorConfig(results=str(results), output=str(tmp_path)))
    page = (tmp_path / "report.html").read_text()
    assert said[0] in page
    assert "<img" in page
    assert 'src="http' not in page
    alarms = json.loads((tmp_path / "alarms.json").read_text())["alarms"]
    assert [(one["kind"], one["group"], one["signal"]) for one in alarms] == [("device", SICK, "pixel_mean")]
    assert pq.read_table(tmp_path / "periods.parquet").num_rows == len(NIGHTS) * 7
    families = {one.name: one for one in text_string_to_metric_families((tmp_path / "metrics.prom").read_text())}
    ringing = [one.labels for one in families["comit_ray_alarm"].samples if one.value]
    assert ringing == [{"kind": "device", "group": SICK, "signal": "pixel_mean"}]
    whole = [one.value for one in families["comit_ray_images"].samples if one.labels["kind"] == "all"]
    assert whole == [40]
    assert output == str(tmp_path)


def test_weeks_begin_on_monday_and_a_day_can_be_the_first(results):
    weeks = watch_counts.count(MonitorConfig(results=str(results), period="week"))
    assert [one.images for one in weeks.periods if one.kind == "all"] == [300 + 5 * 40]
    later = watch_counts.count(MonitorConfig(results=str(results), since=date(2024, 3, 9)))
    assert [one.start for one in later.periods if one.kind == "all"] == [date(2024, 3, 9), date(2024, 3, 10)]


def test_without_days_or_places_it_is_said_why(results, tmp_path):
    with pytest.raises(ManifestError, match="the day on which they were acquired"):
        watch_counts.count(MonitorConfig(results=str(results), of="acquired"))
    (tmp_path / "predictions").symlink_to(results / "predictions")
    with pytest.raises(NotFoundError, match="expected the folder images/ with sites and devices"):
        watch_counts.count(MonitorConfig(results=str(tmp_path)))


def test_a_site_whose_images_fail_is_named(tmp_path):
    nights = [programme.night(n, 120, seed=2, failing="south" if n == 7 else None) for n in range(8)]
    programme.write(tmp_path, nights)
    config = MonitorConfig(results=str(tmp_path))
    watched = watch_charts.watch(watch_counts.count(config), config)
    found = {(one.kind, one.group, one.signal) for one in watched.alarms}
    assert {("site", "south", "failed"), ("device", "X1 at south", "failed")} <= found
    assert not [one for one in found if "north" in one[1]]

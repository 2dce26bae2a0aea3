import pyarrow as pa

from comit_ray.data.manifest.manifest_check import counts, describe_manifest
from comit_ray.tables.manifest_schema import MANIFEST

ROWS = [
    {"covid": 1, "unhealthy": 1, "other": 0, "lung_mask": "m", "split": "test", "patient_id": "p"},
    {"covid": 1, "unhealthy": 1, "other": 0, "lung_mask": "m", "split": "test", "patient_id": "p"},
    {"covid": 0, "unhealthy": 1, "other": 1, "disease_mask": "m", "split": "train", "patient_id": "q"},
    {"covid": 0, "unhealthy": 0, "other": 0, "split": "train", "patient_id": "q"},
    {"covid": 0, "split": "train"},
    {"unhealthy": 1, "excluded": "lateral"},
    {},
]


def table() -> pa.Table:
    return pa.Table.from_pylist([{"dataset": "d", "view": "PA"} | row for row in ROWS], schema=MANIFEST)


def test_every_group_is_counted() -> None:
    found = {
        (row.label, row.masks, row.excluded, row.split): (row.images, row.patients)
        for row in counts(table()).itertuples()
    }
    assert found == {
        ("covid", "lung", "-", "test"): (2, 1),
        ("other disease", "disease", "-", "train"): (1, 1),
        ("healthy", "-", "-", "train"): (1, 1),
        ("not covid", "-", "-", "train"): (1, 0),
        ("unhealthy", "-", "lateral", "-"): (1, 0),
        ("unknown", "-", "-", "-"): (1, 0),
    }


def test_totals() -> None:
    assert describe_manifest(table()).splitlines()[-1] == (
        "7 images of 2 patients (3 images without a patient): 3 train, 0 val, 2 test, 1 excluded"
    )


def test_who_only_screens_images_without_patients_is_not_told_of_a_training_split() -> None:
    unknown = table().drop_columns(["patient_id"]).append_column("patient_id", pa.nulls(7, pa.string()))
    head, *_, last = describe_manifest(unknown).splitlines()
    assert head.split() == ["dataset", "view", "label", "masks", "excluded", "images"]
    assert "train" not in describe_manifest(unknown).replace("A training would", "")
    assert last.startswith("7 images, 1 excluded; it is not known which patients they belong to. A screen")

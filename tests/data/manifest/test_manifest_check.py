import pyarrow as pa

from comit_ray.data.manifest.manifest_build import from_rows, mark_missing
from comit_ray.data.manifest.manifest_check import describe_check, differences, write
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.storage import storage


def test_what_is_missing_and_what_is_unlisted(tmp_path):
    (tmp_path / "archive").mkdir()
    for name in ("a.png", "c.png"):
        (tmp_path / "archive" / name).touch()
    rows = [ManifestRow(path="a.png"), ManifestRow(path="b.png"), ManifestRow(path="c.png", listed=False)]
    source = from_rows(rows, str(tmp_path / "archive"), "d")
    found = differences(mark_missing(source.table), source.listed)
    assert [(row["image_id"], row["problem"]) for row in found.to_pylist()] == [
        ("d/b.png", "missing"),
        ("d/c.png", "unlisted"),
    ]
    assert describe_check(found).splitlines() == [
        "1 missing (in a table, not in storage): d/b.png",
        "1 unlisted (in storage, in no table): d/c.png",
    ]
    uri = write(str(tmp_path / "out"), found)
    assert storage.read_bytes(uri).decode().splitlines()[1] == f'"d/b.png","missing","{tmp_path}/archive/b.png"'


def test_nothing_differs():
    source = from_rows([ManifestRow(path="a.png")], "/r", "d")
    found = differences(source.table, source.listed)
    assert describe_check(found).startswith("0 missing")
    assert found.schema.field("problem").type == pa.string()

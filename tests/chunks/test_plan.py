import pytest

from comit_ray.chunks import plan as planning
from comit_ray.errors import ManifestError
from comit_ray.tables.manifest_schema import MANIFEST
from tests.support import manifest_row, write_rows


def rows(count, chunk, **changes):
    return [manifest_row(f"a/{chunk}-{i}", chunk=chunk, **changes) for i in range(count)]


@pytest.fixture
def manifest(tmp_path) -> str:
    """Two parts: chunks c0 (3 rows) and c1 (2 rows), then c2 (4 rows)."""
    write_rows(tmp_path / "manifest", rows(3, "c0") + rows(2, "c1"), MANIFEST, "part-00000")
    return write_rows(tmp_path / "manifest", rows(4, "c2", split="train"), MANIFEST, "part-00001")


def test_the_plan_has_every_row_in_its_chunk(manifest):
    plan = planning.make_plan(manifest, "all")
    assert [(c.chunk, c.rows) for c in plan.chunks] == [("c0", 3), ("c1", 2), ("c2", 4)]
    assert plan.rows == 9
    assert [len(part.chunks) for part in plan.parts] == [2, 1]


def test_a_split_is_planned_alone(manifest):
    assert planning.make_plan(manifest, "train").rows == 4
    assert len(planning.make_plan(manifest, "train").parts) == 1
    with pytest.raises(ManifestError, match=r"expected images of the split val in"):
        planning.make_plan(manifest, "val")


def test_the_fingerprint_ignores_the_place_and_nothing_else(manifest, tmp_path):
    def fingerprint(name, **changes):
        other = rows(3, "c0", **changes) + rows(2, "c1")
        write_rows(tmp_path / name, other, MANIFEST, "part-00000")
        return planning.make_plan(
            write_rows(tmp_path / name, rows(4, "c2", split="train"), MANIFEST, "part-00001"), "all"
        ).fingerprint

    same = planning.make_plan(manifest, "all").fingerprint
    assert fingerprint("moved", uri="s3://elsewhere/x") == same
    assert fingerprint("excluded", excluded="lateral") != same
    assert planning.make_plan(manifest, "train").fingerprint != same
    for column, value in (("view", "lateral"), ("sidecar", "/a/x.json"), ("checksum", "sha1:00")):
        assert fingerprint(column, **{column: value}) != same
    assert fingerprint("here", sidecar="/a/x.json") == fingerprint("there", sidecar="s3://b/x.json")


def test_what_is_done_does_not_remain(manifest):
    plan = planning.make_plan(manifest, "all")
    assert [c.chunk for c in plan.without({plan.chunks[0].file}).chunks] == ["c1", "c2"]
    assert plan.without({c.file for c in plan.chunks}).parts == ()


def test_an_image_twice_is_refused(tmp_path):
    uri = write_rows(tmp_path, rows(2, "c0") + rows(1, "c0"), MANIFEST)
    with pytest.raises(ManifestError, match="is there twice"):
        planning.make_plan(uri, "all")


def test_a_chunk_name_twice_is_refused(tmp_path):
    write_rows(tmp_path, rows(1, "c0"), MANIFEST, "part-00000")
    write_rows(tmp_path, rows(1, "c1"), MANIFEST, "part-00001")
    uri = write_rows(tmp_path, [manifest_row("a/again", chunk="c0")], MANIFEST, "part-00002")
    with pytest.raises(ManifestError, match="c0"):
        planning.make_plan(uri, "all")

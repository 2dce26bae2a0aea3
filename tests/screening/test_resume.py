import pytest

from comit_ray.errors import ManifestError
from comit_ray.schema import MANIFEST
from comit_ray.screening import resume
from tests.support import manifest_row, write_rows


def rows(count, chunk, **changes):
    return [manifest_row(f"a/{chunk}-{i}", chunk=chunk, **changes) for i in range(count)]


@pytest.fixture
def manifest(tmp_path) -> str:
    """Two parts: chunks c0 (3 rows) and c1 (2 rows), then c2 (4 rows)."""
    write_rows(tmp_path / "manifest", rows(3, "c0") + rows(2, "c1"), MANIFEST, "part-00000")
    return write_rows(tmp_path / "manifest", rows(4, "c2", split="train"), MANIFEST, "part-00001")


def test_the_plan_has_every_row_in_its_chunk(manifest):
    plan = resume.make_plan(manifest, "all")
    assert [(c.chunk, c.rows) for c in plan.chunks] == [("c0", 3), ("c1", 2), ("c2", 4)]
    assert plan.rows == 9
    assert [len(part.chunks) for part in plan.parts] == [2, 1]


def test_a_split_is_planned_alone(manifest):
    assert resume.make_plan(manifest, "train").rows == 4
    assert len(resume.make_plan(manifest, "train").parts) == 1
    with pytest.raises(ManifestError, match=r"no image to screen .*split val"):
        resume.make_plan(manifest, "val")


def test_the_fingerprint_ignores_the_place_and_nothing_else(manifest, tmp_path):
    def fingerprint(name, **changes):
        other = rows(3, "c0", **changes) + rows(2, "c1")
        write_rows(tmp_path / name, other, MANIFEST, "part-00000")
        return resume.make_plan(
            write_rows(tmp_path / name, rows(4, "c2", split="train"), MANIFEST, "part-00001"), "all"
        ).fingerprint

    same = resume.make_plan(manifest, "all").fingerprint
    assert fingerprint("moved", uri="s3://elsewhere/x") == same
    assert fingerprint("excluded", excluded="lateral") != same
    assert resume.make_plan(manifest, "train").fingerprint != same


def test_what_is_committed_does_not_remain(manifest, tmp_path):
    plan = resume.make_plan(manifest, "all")
    output = tmp_path / "results"
    assert resume.committed(str(output)) == set()
    write_rows(output / "predictions", [], MANIFEST, plan.chunks[0].file.removesuffix(".parquet"))
    (output / "predictions" / plan.chunks[2].file).write_bytes(b"PAR1 cut off in the middle")
    done = resume.committed(str(output))
    assert done == {plan.chunks[0].file}
    remaining = plan.remaining(done)
    assert [c.chunk for c in remaining.chunks] == ["c1", "c2"]
    assert plan.remaining({c.file for c in plan.chunks}).parts == ()


def test_a_chunk_name_twice_is_refused(tmp_path):
    write_rows(tmp_path, rows(1, "c0"), MANIFEST, "part-00000")
    uri = write_rows(tmp_path, rows(1, "c0"), MANIFEST, "part-00001")
    with pytest.raises(ManifestError, match="chunk 'c0' appears twice"):
        resume.make_plan(uri, "all")

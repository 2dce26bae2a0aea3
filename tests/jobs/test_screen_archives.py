"""BIMCV as its site offers it, archives with listings and checksums: screened where it lies, nothing unpacked."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from comit_ray import cli
from comit_ray.chunks.reading import read_part
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.images.load import Place, known_exclusion
from comit_ray.storage.tar_stream import TarStream
from comit_ray.tables import parquet
from jobs import manifest as manifest_job
from jobs import screen as screen_job
from tests.data import bimcv_tree
from tests.support import write_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> bimcv_tree.Tree:
    root = tmp_path_factory.mktemp("tree")
    return bimcv_tree.build(root, cxr / "bimcv_covid19" / "image_metadata_v1.tsv.gz")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint")


def screened(root: Path, output: Path, checkpoint: str) -> tuple[pa.Table, int]:
    """The predictions of a root, and the exit status of the screen."""
    config = ManifestConfig(source="bimcv", root=str(root), output=f"{output}/manifest", chunk_rows=8)
    assert manifest_job.job(config) == 0
    options = ["--manifest", f"{output}/manifest", "--checkpoint", checkpoint, "--output", f"{output}/results"]
    options += ["--max_failed_share", "1"]  # the archive has broken files
    status = screen_job.job(cli.parse(ScreenConfig, "", options))
    return parquet.read_table(f"{output}/results/predictions"), status


def by_name(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["image_id"].rpartition("/")[2]: row for row in table.to_pylist()}


def test_archives_give_the_scores_of_the_unpacked_tree(tree, checkpoint, here, tmp_path) -> None:
    bimcv_tree.pack(tree, tmp_path / "packed")
    loose, status = screened(tree.root, tmp_path / "loose", checkpoint)
    assert status == 0
    packed, status = screened(tmp_path / "packed", tmp_path / "out", checkpoint)
    assert status == 0
    assert all("!" in image_id for image_id in packed["image_id"].to_pylist())
    assert not [path for path in (tmp_path / "packed").rglob("*") if path.suffix in (".png", ".json")]
    here, there = by_name(loose), by_name(packed)
    assert set(here) == set(there)
    statuses = [row["status"] for row in here.values()]
    assert statuses.count("ok") > 15
    for name, row in here.items():
        other = there[name]
        assert (other["status"], other["reason"], other["view"]) == (row["status"], row["reason"], row["view"]), name
        assert other["p_covid"] == (None if row["p_covid"] is None else pytest.approx(row["p_covid"], abs=1e-6)), name
    volumes = [row for name, row in there.items() if name.endswith("_ct.nii.gz")]
    assert volumes
    assert {row["reason"] for row in volumes} == {"wrong_modality"}


def test_an_archive_that_is_another_than_its_checksum_says_gives_no_score(
    tree, checkpoint, here, tmp_path, capsys
) -> None:
    bimcv_tree.pack(tree, tmp_path / "packed")
    sums = tmp_path / "packed" / "sha1sum.txt"
    lines = sums.read_text().splitlines()
    wrong = next(line for line in lines if line.endswith("subjects_1.tgz"))
    sums.write_text("\n".join("0" * 40 + line[40:] if line == wrong else line for line in lines) + "\n")
    table, status = screened(tmp_path / "packed", tmp_path / "out", checkpoint)
    assert status == 0  # the accounts balance: the images are rows with their reason
    assert "images failed afterwards" in capsys.readouterr().out
    rows = table.to_pylist()
    first = [row for row in rows if "subjects_1.tgz!" in row["image_id"]]
    second = [row for row in rows if "subjects_2.tgz!" in row["image_id"]]
    assert len(first) > 8, "more than a chunk"
    assert {row["status"] for row in first} == {"failed", "excluded"}
    assert {row["reason"] for row in first if row["status"] == "failed"} >= {"checksum_mismatch"}
    assert all(row["p_covid"] is None and row["covid_flag"] is None for row in first)
    assert "ok" in {row["status"] for row in second}
    masks = parquet.read_table(f"{tmp_path}/out/results/masks")["image_id"].to_pylist()
    assert set(masks) == {row["image_id"] for row in rows if row["status"] == "ok"}


def test_an_archive_is_read_in_one_pass(tree, tmp_path, monkeypatch) -> None:
    """Image and sidecar of every row, in the manifest's order, whichever comes first in the archive."""
    bimcv_tree.pack(tree, tmp_path / "packed", archives=1)
    config = ManifestConfig(source="bimcv", root=str(tmp_path / "packed"), output=f"{tmp_path}/manifest", chunk_rows=8)
    assert manifest_job.job(config) == 0
    begun: list[str] = []
    real = TarStream._rewind

    def counted(self: TarStream, algorithm: str) -> None:
        begun.append(self.uri)
        real(self, algorithm)

    monkeypatch.setattr(TarStream, "_rewind", counted)

    def read(row, reader):
        if known_exclusion(row) is not None:
            return {"image_id": row["image_id"], "sizes": []}
        place = Place.of(row)
        sizes = [len(reader.read(ref)) for ref in (place.file, place.sidecar) if ref is not None]
        return {"image_id": row["image_id"], "sizes": sizes}

    [part] = parquet.parts(f"{tmp_path}/manifest")
    table = parquet.read_part(part)
    names = table["chunk"].unique().to_pylist()
    found = [row for _, rows in read_part(table, names, read, lambda row, error: row, 2, 2**28) for row in rows]
    assert len(found) == len(table)
    assert any(len(row["sizes"]) == 2 for row in found)
    assert begun == [f"{tmp_path}/packed/bimcv_covid19_posi_subjects_1.tgz"]

"""The manifest as its users make it, on real radiographs; once as a process of its own."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.data.manifest.manifest import read
from jobs import manifest as manifest_job
from tests.conftest import REPOSITORY
from tests.jobs.in_process import called
from tests.support import some_of_nih


def job(*options: str) -> subprocess.CompletedProcess[str]:
    return called(manifest_job.job, ManifestConfig, *options)


def made(output: Path, *options: str) -> str:
    """URI of a manifest that the job printed last."""
    done = job("--output", str(output), *options)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f"manifest: {output}"
    return str(output)


def query(sql: str) -> list[tuple[Any, ...]]:
    relation = duckdb.sql(sql)
    assert relation is not None
    return relation.fetchall()


@pytest.fixture(scope="module")
def nih(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of all images that are at hand, beside a hundredth of the rows of the others."""
    root = tmp_path_factory.mktemp("manifests")
    some = some_of_nih(cxr, root / "some", every=1)
    return made(root / "nih", "--source", "nih", "--root", str(some), "--present_only", "true")


@pytest.fixture(scope="module")
def covid(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("manifests") / "covid"
    return made(output, "--source", "covid-chestxray", "--root", str(cxr / "covid_chestxray"))


def test_present_images_of_nih(nih: str) -> None:
    table = read(nih)
    assert len(table) == 1000
    assert table.column("disease_mask").null_count == 1000 - 44
    assert len(table.column("patient_id").unique()) == 682
    assert Counter(table.column("unhealthy").to_pylist()) == {0: 500, 1: 500}


def test_the_whole_of_nih_with_its_absent_files_marked(cxr: Path, tmp_path: Path) -> None:
    root = str(cxr / "nih_chestxray14")
    uri = made(tmp_path / "nih", "--source", "nih", "--root", root, "--check_files", "true")
    table = read(uri)
    assert Counter(table.column("excluded").to_pylist()) == {"missing": 111_120, None: 1000}
    assert table.column("split").null_count == 111_120
    assert len(table.column("chunk").unique()) == 10 + 214 + 16  # ten that grow, 512 rows each, and 16 that shrink


def test_merged_manifest_is_patient_disjoint_and_read_by_duckdb(nih: str, covid: str, tmp_path: Path) -> None:
    uri = made(tmp_path / "all", "--inputs", f"{nih}, {covid}", "--duplicates", "ignore")
    found = query(f"SELECT dataset, split, excluded, count(*) FROM '{uri}/*.parquet' GROUP BY ALL")
    by_dataset = Counter[str]()
    for dataset, split, excluded, count in found:
        assert (split is None) == (excluded is not None)
        by_dataset[dataset] += count
    assert by_dataset == {"nih": 1000, "covid-chestxray": 205}
    excluded_rows = {row[2]: row[3] for row in found if row[2]}
    assert excluded_rows == {"wrong_modality": 23, "lateral": 12}
    leaking = query(
        f"SELECT patient_id FROM '{uri}/*.parquet' WHERE split IS NOT NULL GROUP BY 1 HAVING count(DISTINCT split) > 1"
    )
    assert leaking == []
    positives = query(f"SELECT split, count(*) FROM '{uri}/*.parquet' WHERE covid = 1 AND split IS NOT NULL GROUP BY 1")
    assert sum(count for _, count in positives) == 128
    assert all(count >= 5 for _, count in positives)
    assert len(positives) == 3


def test_the_summary_counts_every_row(covid: str, cxr: Path, tmp_path: Path) -> None:
    root = str(cxr / "covid_chestxray")
    done = job("--output", str(tmp_path / "m"), "--source", "covid-chestxray", "--root", root, "--name", "ieee8023")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["dataset", "view", "label", "masks", "excluded", "split", "images", "patients"]
    groups = [line.split() for line in lines[1:] if line.lstrip().startswith("ieee8023")]
    assert sum(int(line[-2]) for line in groups) == 205
    assert "205 images of 115 patients (0 images without a patient)" in done.stdout
    assert "35 excluded" in done.stdout
    assert read(str(tmp_path / "m")).column("image_id")[0].as_py().startswith("ieee8023/images/")


def test_the_same_command_writes_the_same_rows(covid: str, cxr: Path, tmp_path: Path) -> None:
    """In another process, from another directory."""
    options = ["--source", "covid-chestxray", "--root", str(cxr / "covid_chestxray"), "--output", "again"]
    command = [sys.executable, str(REPOSITORY / "jobs" / "manifest.py"), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"manifest: {tmp_path}/again"
    assert read(f"{tmp_path}/again").equals(read(covid))


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ["--source", "nihh", "--root", "/r"],
            2,
            "unknown source 'nihh' (did you mean nih?); known: files, nih, chexpert",
        ),
        (["--source", "images", "--root", __file__], 1, "test_manifest.py is a file: expected a directory"),
        (["--source", "nih"], 2, "--source nih needs --root"),
        ([], 2, "give --root (and its --source), or --inputs with manifests to merge"),
        (["--source", "images", "--root", "/r", "--name", "a/b"], 2, "dataset's name must be letters"),
        (["--source", "images", "--root", "/not/there"], 1, "no directory at /not/there"),
        (["--inputs", "/not/there"], 1, "no directory at /not/there"),
        (["--inputs", ","], 2, "expected URIs of manifests in --inputs, got ','"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, options: list[str], status: int, message: str) -> None:
    done = job("--output", str(tmp_path / "m"), *options)
    assert done.returncode == status
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_picture_of_two_datasets_is_kept_once_and_shares_a_split(
    cxr: Path, covid: str, nih: str, tmp_path: Path, ray_session: Path
) -> None:
    """Copies of real images, one recompressed, one cropped, as a dataset of its own without labels."""
    copies = tmp_path / "copies"
    copies.mkdir()
    images = {row["image_id"]: row for row in read(covid).to_pylist() if row["excluded"] is None}
    chosen = list(images.values())[:2]
    for number, row in enumerate(chosen):
        with Image.open(row["uri"]) as picture:
            grey = picture.convert("L")
        width, height = grey.size
        if number:
            grey = grey.crop((width // 50, height // 50, width - width // 50, height - height // 50))
        grey.save(copies / f"{number}.jpg", quality=60)
    other = made(tmp_path / "other", "--source", "images", "--root", str(copies), "--name", "copies")
    options = ["--inputs", f"{covid},{nih},{other}"]  # to look for them is what a merge does by itself
    done = job("--output", str(tmp_path / "all"), *options)
    assert done.returncode == 0, done.stderr
    rows = {row["image_id"]: row for row in read(str(tmp_path / "all")).to_pylist()}
    assert len(rows) == 1207
    for number, original in enumerate(chosen):
        copy, kept = rows[f"copies/{number}.jpg"], rows[original["image_id"]]
        assert kept["excluded"] is None
        assert copy["split_group"] == kept["split_group"] is not None
        assert copy["excluded"] == "duplicate" or copy["split"] == kept["split"]
    assert rows["copies/0.jpg"]["excluded"] == "duplicate"
    pairs = query(f"SELECT * FROM '{tmp_path}/all/duplicates.csv'")
    assert any("copies/0.jpg" in pair for pair in pairs)
    by_group = query(
        f"SELECT split_group FROM '{tmp_path}/all/*.parquet' WHERE split IS NOT NULL AND split_group IS NOT NULL "
        "GROUP BY 1 HAVING count(DISTINCT split) > 1"
    )
    assert by_group == []


def test_the_papers_protocol_keeps_every_row_and_shows_its_tables(nih: str, tmp_path: Path) -> None:
    done = job("--output", str(tmp_path / "p"), "--inputs", nih, "--protocol", "paper")
    assert done.returncode == 0, done.stderr
    table = read(str(tmp_path / "p"))
    assert len(table) == 1000
    chosen = [row for row in table.to_pylist() if row["excluded"] is None]
    assert all("Pneumonia" in row["findings"] for row in chosen if row["unhealthy"] == 1)
    assert sum("Pneumonia" in row["findings"] for row in chosen) == 500
    assert {row["excluded"] for row in table.to_pylist()} <= {None, "not_in_protocol"}
    for title in ("Table 1", "Table 2", "Table 3"):
        assert title in done.stdout


def test_what_tables_and_storage_lack_is_listed(cxr: Path, tmp_path: Path) -> None:
    root = tmp_path / "nih"
    (root / "images").mkdir(parents=True)
    for name in ("00000001_000.png", "99999999_000.png"):
        (root / "images" / name).touch()
    table = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    rows = "".join(f"0000000{number}_000.png,Mass,0,{number},58,M,PA\n" for number in (1, 2))
    (root / "Data_Entry_2017.csv").write_text(table + rows)
    done = job("--output", str(tmp_path / "m"), "--source", "nih", "--root", str(root), "--check_files", "true")
    assert done.returncode == 0, done.stderr
    assert "1 missing (in a table, not in storage): nih/images/00000002_000.png" in done.stdout
    assert "1 unlisted (in storage, in no table): nih/images/99999999_000.png" in done.stdout
    listed = query(f"SELECT problem, image_id FROM '{tmp_path}/m/check.csv' ORDER BY ALL")
    assert listed == [("missing", "nih/images/00000002_000.png"), ("unlisted", "nih/images/99999999_000.png")]
    assert len(read(str(tmp_path / "m"))) == 3

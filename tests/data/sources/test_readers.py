import gzip
import tracemalloc

import pytest

from comit_ray.data.sources.readers import is_unknown, read_csv, read_lines
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError
from tests.data import archives


def test_tables_inside_archives_and_other_encodings(tmp_path):
    text = "name,age\nMüller,50\n"
    archives.write(tmp_path / "head.tgz", {"t/participants.csv": text.encode("latin-1")})
    (tmp_path / "plain.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"a\tb\n1\n\n"))
    files = SourceFiles(str(tmp_path))
    header, rows = read_csv(files, files.table(r"t/participants\.csv", "t"), encoding="latin-1")
    assert (header, list(rows)) == (["name", "age"], [["Müller", "50"]])
    header, rows = read_csv(files, files.table(r"plain\.csv\.gz", "t"), delimiter="\t")
    assert (header, list(rows)) == (["a", "b"], [["1", ""]])
    with pytest.raises(ManifestError, match=r"expected utf-8-sig text in .*head\.tgz!t/participants\.csv"):
        list(read_lines(files, files.table(r"t/participants\.csv", "t")))


def test_a_table_is_read_line_by_line(tmp_path):
    """Some megabytes of table pass through without being held."""
    (tmp_path / "t.csv").write_text("a,b\n" + "x" * 50 + ",1\n" * 2 + ("y" * 50 + ",1\n") * 200_000)
    files = SourceFiles(str(tmp_path))
    file = files.table(r"t\.csv", "t")
    tracemalloc.start()
    _, rows = read_csv(files, file)
    assert sum(1 for _ in rows) == 200_002
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20 < file.size


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"Edema\n2,x\n3,y\n', 2),
        ('a,b\n1,x\n2,"Edema\n3,"No Finding"\n', 3),
        ('a,b\n1,"two\nlines"\n2,"open', 4),
        ('a,"b\n1,x\n', 1),
    ],
)
def test_a_quote_that_never_closes_is_told_with_its_line(tmp_path, text, line):
    (tmp_path / "t.csv").write_text(text)
    files = SourceFiles(str(tmp_path))
    with pytest.raises(ManifestError, match=rf"t\.csv, in the row that begins in line {line} got"):
        list(read_csv(files, files.table(r"t\.csv", "t"))[1])


def test_cells_that_are_not_known_are_blank(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\nNaN,#N/A,-\n<NA>,null,0\n")
    files = SourceFiles(str(tmp_path))
    file = files.table(r"t\.csv", "t")
    assert list(read_csv(files, file)[1]) == [["", "", ""], ["", "", "0"]]
    assert list(read_csv(files, file, unknown_as_blank=False)[1]) == [["NaN", "#N/A", "-"], ["<NA>", "null", "0"]]
    assert not any(map(is_unknown, ("0", "no", "Nan Goldin", "unknown", "-1")))

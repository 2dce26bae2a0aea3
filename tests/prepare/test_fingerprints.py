import pyarrow as pa

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.manifest.fingerprint import fingerprint
from comit_ray.prepare.fingerprints import SCHEMA, fingerprint_tables
from comit_ray.tables.manifest_schema import MANIFEST
from tests.data import archives
from tests.support import manifest_row


def test_every_row_keeps_its_place_with_or_without_a_fingerprint(cxr, tmp_path):
    first, second = sorted((cxr / "covid_chestxray" / "images").iterdir())[:2]
    packed = archives.write(tmp_path / "a.tgz", {"x.jpg": second.read_bytes()})
    rows = [
        manifest_row("c/1", uri=str(first)),
        manifest_row("c/2", uri="/nowhere/gone.png"),
        manifest_row("c/3", uri=str(first), excluded="lateral"),
        manifest_row("c/4", uri=packed, member="x.jpg"),
    ]
    tables = list(fingerprint_tables(pa.Table.from_pylist(rows, schema=MANIFEST), DecodeLimits()))
    table = pa.concat_tables(tables)
    assert table.schema.equals(SCHEMA)
    assert table["image_id"].to_pylist() == ["c/1", "c/2", "c/3", "c/4"]
    expected = [fingerprint(decode(path.read_bytes(), DecodeLimits()).pixels_HW) for path in (first, second)]
    assert table["fingerprint"].to_pylist() == [expected[0], None, None, expected[1]]

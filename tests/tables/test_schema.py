import pyarrow as pa
import pytest

from comit_ray.tables.arrays import SCHEMA_VERSION
from comit_ray.tables.schema import TABLES

PLAIN = (
    pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_date,
    pa.types.is_timestamp, pa.types.is_binary,
)  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_plain_and_explained(name):
    schema = TABLES[name]
    assert schema.metadata == {b"comit_ray.table": name.encode(), b"comit_ray.version": SCHEMA_VERSION.encode()}
    for field in schema:
        type_ = field.type.value_type if pa.types.is_list(field.type) else field.type
        assert any(is_plain(type_) for is_plain in PLAIN), f"{field.name}: {field.type} is not a plain type"
        assert field.metadata[b"meaning"], field.name


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_the_key(name):
    key = {"trials": "trial", "periods": "group"}.get(name, "image_id")
    assert not TABLES[name].field(key).nullable

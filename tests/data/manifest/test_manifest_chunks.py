from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comit_ray.data.manifest.manifest_chunks import chunk_names, part_cuts, run_starts, streamed
from comit_ray.tables.manifest_schema import MANIFEST


def table(blocks: list[tuple[str, str | None, int]]) -> pa.Table:
    """(dataset, archive or None for loose, rows) one after the other."""
    rows: list[dict[str, object]] = []
    for number, (dataset, archive, count) in enumerate(blocks):
        for i in range(count):
            uri = f"/r/{dataset}/{number}-{i}.png" if archive is None else f"/r/{dataset}/{archive}"
            rows.append(
                {
                    "image_id": f"{dataset}/{number}-{i}",
                    "uri": uri,
                    "member": None if archive is None else f"{number}-{i}",
                    "dataset": dataset,
                    "view": "PA",
                    "view_source": "test",
                    "findings": [],
                    "chunk": "",
                }
            )
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def lengths(names: pa.Array) -> list[int]:
    return [len(list(group)) for _, group in groupby(names.to_pylist())]


def cut(blocks, chunk_rows, part_rows=10**9) -> tuple[list[int], list[tuple[int, int]]]:
    rows = table(blocks)
    names = chunk_names(rows, chunk_rows)
    rows = rows.set_column(rows.schema.get_field_index("chunk"), "chunk", names)
    return lengths(names), part_cuts(rows, part_rows)


def test_loose_rows_are_cut_where_the_number_says():
    assert cut([("d", None, 10)], 4, 8) == ([4, 4, 2], [(0, 8), (8, 10)])
    assert chunk_names(table([("d", None, 5), ("e", None, 1)]), 4).to_pylist() == ["d-00000"] * 4 + [
        "d-00001",
        "e-00000",
    ]


@pytest.mark.parametrize(
    ("rows", "chunk_rows", "expected"),
    [
        (1200, 128, [16, 16, 32, 32, 64, 64, *[128] * 4, 116, 87, 65, 49, 36, 27, 21, 16, 16, 16, 15]),
        (300, 512, [16, 16, 32, 32, 51, 38, 28, 21, *[16] * 4, 2]),
        (300, 32, [16, 16, *[32] * 5, 27, 20, 16, 16, 16, 13]),
        (100, 4, [4] * 25),
        (16, 512, [16]),
        (0, 512, []),
    ],
)
def test_the_first_and_the_last_chunks_are_small(rows, chunk_rows, expected):
    """So that the first results are there early, several processes share a small archive, and they end together."""
    assert cut([("d", None, rows)], chunk_rows)[0] == expected


def test_the_first_chunks_of_an_archive_read_in_one_pass_are_not_small():
    assert cut([("d", "a.tgz", 300), ("d", None, 300)], 512)[0] == [512, 88]


def test_an_archive_lies_in_one_part_whatever_its_size():
    assert cut([("d", "a.tgz", 10), ("d", "b.tgz", 9)], 4, 4) == ([4, 4, 2, 4, 4, 1], [(0, 10), (10, 19)])


def test_small_archives_share_a_chunk_and_none_is_torn_for_it():
    assert cut([("d", f"{i}.tgz", 3) for i in range(5)], 8)[0] == [6, 6, 3]


def test_zip_and_tar_are_read_at_random_and_so_cut_like_loose_files():
    assert cut([("d", "a.zip", 10), ("d", "b.tar", 2)], 4, 4) == ([4, 4, 4], [(0, 4), (4, 8), (8, 12)])


def test_datasets_never_share_a_part():
    assert cut([("d", None, 2), ("e", None, 2)], 4, 100)[1] == [(0, 2), (2, 4)]


blocks = st.lists(
    st.tuples(st.sampled_from(["d", "e"]), st.sampled_from([None, "a.tgz", "b.tgz", "c.zip"]), st.integers(1, 12)),
    min_size=1,
    max_size=6,
)


@given(blocks, st.integers(1, 7), st.integers(1, 9))
def test_every_row_is_in_one_chunk_and_one_part(made, chunk_rows, part_rows):
    made.sort(key=lambda block: block[0])
    rows = table(made)
    names = chunk_names(rows, chunk_rows)
    assert len(names) == len(rows)
    assert max(lengths(names)) <= chunk_rows
    rows = rows.set_column(rows.schema.get_field_index("chunk"), "chunk", names)
    cuts = part_cuts(rows, part_rows)
    assert [stop for _, stop in cuts[:-1]] == [start for start, _ in cuts[1:]]
    assert (cuts[0][0], cuts[-1][1]) == (0, len(rows))
    archived = streamed(rows)
    for (_, stop), _ in pairwise(cuts):
        assert names[stop] != names[stop - 1]
        assert not (archived[stop] and rows["uri"][stop] == rows["uri"][stop - 1])
    again = [name for name, _ in groupby(names.to_pylist())]
    assert len(set(again)) == len(again)


@pytest.mark.parametrize(
    ("values", "starts"), [([], [0]), (["a"], [0, 1]), (["a", "a", None, None, "b"], [0, 2, 4, 5])]
)
def test_runs(values, starts):
    assert np.array_equal(run_starts(pa.chunked_array([pa.array(values, pa.string())])), starts)

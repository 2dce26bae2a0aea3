"""The tables of a screen: `predictions`, whose file is a chunk's commit, and its side tables."""

import pyarrow as pa

from comit_ray.chunks.plan import Layout
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema

PREDICTIONS, MASKS, EMBEDDINGS, GRADCAM, VARIANTS = "predictions", "masks", "embeddings", "gradcam", "variants"


def layout(embeddings: bool, gradcam: bool = False, variants: int = 0) -> Layout:
    """The tables that are asked for; `variants` is the number of altered copies of each image."""
    asked = ((EMBEDDINGS, embeddings), (GRADCAM, gradcam), (VARIANTS, variants > 0))
    return Layout(
        main=PREDICTIONS,
        sides=(MASKS, *(name for name, wanted in asked if wanted)),
        facts=("image_id", "view", "model_id", "run_id", "screened_at"),
        flag="covid_flag",
        several={VARIANTS: variants} if variants else {},
    )


def read_predictions(results: str) -> pa.Table:
    """The `predictions` of `results`; columns that are younger than the table are null.

    Raises:
        NotFoundError: there are none.
        StorageError: they cannot be read.
    """
    table = parquet.read_table(storage.join(results, PREDICTIONS))
    for field in schema.PREDICTIONS:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table

"""The tables of a screen: `predictions`, whose file is a chunk's commit, and its side tables."""

from comit_ray.work.chunk import Layout

PREDICTIONS, MASKS, EMBEDDINGS = "predictions", "masks", "embeddings"


def layout(embeddings: bool) -> Layout:
    """The tables that are asked for."""
    return Layout(
        main=PREDICTIONS,
        sides=(MASKS, EMBEDDINGS) if embeddings else (MASKS,),
        facts=("image_id", "view", "model_id", "run_id", "screened_at"),
        flag="covid_flag",
    )

"""Names of what is timed."""

FETCH, DECODE, PREDICT, MEASURE, WRITE = "fetch", "decode", "predict", "measure", "write"
"""The stages of an image's way."""
GRAPH = "graph"
"""All of them, from the first image to the last, by the driver's clock."""
BARE = "bare model"
"""The network on frames in memory, and nothing else."""

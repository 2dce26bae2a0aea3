"""Names of what is timed."""

FETCH, DECODE, PREDICT, MEASURE, WRITE = "fetch", "decode", "predict", "measure", "write"
"""The stages of an image's way."""
GRAPH = "graph"
"""All of them by the driver's clock: from the plan, before any process starts, to the last file."""
BARE = "bare model"
"""The network on frames in memory, and nothing else."""

"""Read the review queue in a browser: a page for radiologists, and their verdicts as a table beside the results.

Prints a link and serves it until it is interrupted. Verdicts lie in RESULTS/reviews, each whole before it is
acknowledged; run it again to go on.
"""

from comit_ray import cli
from comit_ray.reading import serve
from comit_ray.reading.settings import ReviewConfig


def job(config: ReviewConfig) -> int:
    """Make a link, or serve the page."""
    serve.review(config)
    return 0


if __name__ == "__main__":
    cli.run(job, ReviewConfig, __doc__ or "")

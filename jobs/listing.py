"""List a bucket or directory once, into Parquet; `jobs/manifest.py --listing` then need not list it again."""

from comit_ray import cli
from comit_ray.chunks import nodes
from comit_ray.config.data_config import ListingConfig
from comit_ray.data.sources import listing
from comit_ray.storage import storage


def job(config: ListingConfig) -> int:
    """List, write, and say how much."""
    output = storage.normalise(config.output)
    nodes.check_submitted({"root": config.root}, {"output": output})
    print(f"{listing.write(config.root, output):,} files")
    print(f"listing: {output}")
    return 0


if __name__ == "__main__":
    cli.run(job, ListingConfig, __doc__ or "")

"""Write an archive of synthetic chest radiographs with known lungs and lesions, broken and alien files among them."""

from comit_ray import cli
from comit_ray.chunks import nodes
from comit_ray.config.data_config import PhantomConfig
from comit_ray.data.phantom import phantom_archive


def main(config: PhantomConfig) -> int:
    """Draw, write, say what was written."""
    nodes.check_submitted({}, {"output": config.output})
    entries = phantom_archive.write(config.output, config.count, config.seed)
    print(phantom_archive.summary(entries))
    print(f"archive: {config.output}")
    return 0


if __name__ == "__main__":
    cli.run(main, PhantomConfig, __doc__ or "")

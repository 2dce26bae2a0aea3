"""Write the manifest of an image archive: one row an image, where it is, whose it is, what is known of it."""

from comit_ray import storage
from comit_ray.cli import run
from comit_ray.config import ManifestConfig
from comit_ray.data.manifest import write
from comit_ray.data.manifest_build import finish, mark_missing, merge, present_only, read_source
from comit_ray.data.manifest_summary import describe
from comit_ray.data.sources.files import SourceFiles
from comit_ray.data.sources.registry import adapter
from comit_ray.errors import ConfigError


def job(config: ManifestConfig) -> int:
    """Build or merge, divide, write, and print the counts and the manifest's URI."""
    if config.source and config.root:
        files = SourceFiles(config.root)
        dataset = config.name or config.source
        table = read_source(adapter(config.source), files, dataset, config).table
    else:
        inputs = [uri.strip() for uri in (config.inputs or "").split(",") if uri.strip()]
        if not inputs:
            raise ConfigError(f"expected URIs of manifests in --inputs, got {config.inputs!r}")
        table = merge(inputs)
    if config.present_only:
        table = present_only(table)
    elif config.check_files:
        table = mark_missing(table)
    output = storage.normalise(config.output)
    table = finish(table, config.split, config.chunk_rows)
    write(output, table, config.part_rows, config.model_dump_json())
    print(describe(table))
    print(f"manifest: {output}")
    return 0


if __name__ == "__main__":
    run(job, ManifestConfig, __doc__)

"""Makes the manifest of an archive: rows of a source, near-duplicates, protocol, split and chunks."""

import sys

import pyarrow as pa

from comit_ray.chunks import nodes
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.data.manifest import duplicates, manifest_check, manifest_updates, paper_tables, protocol
from comit_ray.data.manifest.manifest import write
from comit_ray.data.manifest.manifest_build import (
    check_name,
    finish,
    mark_missing,
    merge,
    present_only,
    read_source,
    today,
)
from comit_ray.data.manifest.manifest_check import describe_manifest
from comit_ray.data.manifest.manifest_growth import Asked, grow
from comit_ray.data.sources import dicom_files, mixed_files
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ConfigError
from comit_ray.prepare.fingerprints import fingerprints
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted


def make(config: ManifestConfig) -> str:
    """Builds or merges a manifest, selects and splits its images, writes it and prints the counts; returns its URI.

    Raises:
        ConfigError: the source is unknown, the output lies inside the archive, or not all nodes see a local path.
        ManifestError: the source's tables, or the manifests to merge, do not have the expected form.
        StorageError: the archive cannot be listed, or the manifest cannot be written.
    """
    output = storage.normalise(config.output)
    storage.refuse_inside("--output", output, "--root", config.root)
    nodes.check_submitted({"root": config.root, "listing": config.listing}, {"output": output})
    if config.update and manifest_updates.is_there(output):
        return _update(config, output)
    table = _from_source(config, output) if config.source else _from_manifests(config)
    several = len(table["dataset"].unique()) > 1
    alike = config.duplicates or ("exclude" if several else "ignore")
    if alike != "ignore":
        table = _look_alikes(table, config, output, exclude=alike == "exclude")
    elif several:
        print(
            "near-duplicates were not searched: one picture may be in several datasets, and in several splits",
            file=sys.stderr,
        )
    if config.protocol == "paper":
        table = protocol.select_paper(table, config.protocol_seed)
    keep = config.split.keep_source if config.split.keep_source is not None else bool(config.inputs)
    split = config.split.model_copy(update={"keep_source": keep})
    table = finish(table, split, config.chunk_rows, config.added_on)
    write(output, table, config.part_rows, config.model_dump_json())
    print(describe_manifest(table))
    if config.protocol == "paper":
        print(paper_tables.compare(table))
    return output


def _update(config: ManifestConfig, output: str) -> str:
    """Adds new files of the archive to the existing manifest."""
    assert config.source is not None, "ManifestConfig: --update needs a source"
    assert config.root is not None, "ManifestConfig: a source needs a root"
    dataset = config.name or config.source
    check_name(dataset)
    asked = Asked(
        config.source,
        config.root,
        dataset,
        config,
        config.split,
        config.chunk_rows,
        config.part_rows,
        config.max_changed_share,
    )
    growth = grow(output, asked, config.added_on or today())
    print(growth.describe())
    if growth.skipped:
        print(growth.skipped.describe())
    if config.list_skipped and growth.skipped is not None:
        growth.skipped.write(storage.normalise(config.list_skipped))
        print(f"passed over: {storage.normalise(config.list_skipped)}")
    return output


def _from_source(config: ManifestConfig, output: str) -> pa.Table:
    assert config.source is not None, "ManifestConfig: a source, or inputs"
    rows_of = adapter(config.source)
    dataset = config.name or config.source
    check_name(dataset)
    # The listing comes last because it may take long: all other errors are found before it.
    files = SourceFiles(config.root or "", listing=config.listing, trust_listings=not config.check_files)
    source = read_source(rows_of, files, dataset, config)
    assert source.skipped is not None, "read_source knows them"
    if source.skipped:
        print(source.skipped.describe())
    if config.source == mixed_files.NAME and dicom_files.read_key() is None:
        uris, members = source.table["uri"].to_pylist(), source.table["member"].to_pylist()
        if any(mixed_files.has_dicom(member or uri) for uri, member in zip(uris, members, strict=True)):
            print(dicom_files.WITHOUT_KEY, file=sys.stderr)
    if source.placeholder_dates:
        dates = counted(source.placeholder_dates, "placeholder date")
        print(f"treated as unknown: {dates} of anonymisation (such as 1901-01-01)")
    if config.list_skipped:
        source.skipped.write(storage.normalise(config.list_skipped))
        print(f"passed over: {storage.normalise(config.list_skipped)}")
    if config.present_only:
        return present_only(source.table, files)
    if not config.check_files:
        return source.table
    table = mark_missing(source.table, files)
    found = manifest_check.differences(table, source.listed)
    print(f"{manifest_check.describe_check(found)}\ncheck: {manifest_check.write(output, found)}")
    return table


def _from_manifests(config: ManifestConfig) -> pa.Table:
    inputs = [uri.strip() for uri in (config.inputs or "").split(",") if uri.strip()]
    if not inputs:
        raise ConfigError(f"expected URIs of manifests in --inputs, got {config.inputs!r}")
    table = merge(inputs)
    if config.present_only:
        return present_only(table)
    return mark_missing(table) if config.check_files else table


def _look_alikes(table: pa.Table, config: ManifestConfig, output: str, *, exclude: bool) -> pa.Table:
    """Groups near-duplicates; with `exclude`, keeps one row of a picture that several datasets hold."""
    found = duplicates.resolve(table, fingerprints(table, config.decode), exclude=exclude)
    uri = duplicates.write(output, found.pairs)
    print(f"{duplicates.describe(found)}\nduplicates: {uri}")
    return found.table

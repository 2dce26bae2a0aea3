"""A whole run of an embedding classifier: what `jobs/embedding_classifier.py` does, and some trials of a sweep."""

from comit_ray.checkpoint import operating_points
from comit_ray.chunks import accounts, run_record
from comit_ray.chunks.accounts import Accounts
from comit_ray.config.screen_config import EmbeddingClassifierConfig
from comit_ray.screening import embedding_screen, embedding_tables
from comit_ray.screening.screen_tables import MASKS, PREDICTIONS, layout
from comit_ray.storage import storage

POINTS = "operating_points.json"


def classify(config: EmbeddingClassifierConfig) -> Accounts:
    """Fit, choose thresholds, score every image of the screen; the accounts of the output.

    Raises:
        ConfigError: the screen has no embeddings or one split alone, or the output belongs to another question.
        ManifestError: another manifest was screened, the screen is not whole, or a label has one class.
        StorageError: tables cannot be read or written.
    """
    output = storage.normalise(config.output)
    screen = embedding_tables.open_screen(config.results, config.manifest)
    images = embedding_tables.labelled(screen, config.manifest)
    fitted = embedding_screen.fit_classifiers(images, screen.model_id, config)
    document, point = embedding_screen.choose_thresholds(fitted, images, config)
    asked = embedding_screen.classifier_settings(screen, fitted, point, config)
    run_id = run_record.open_run(output, asked, config.model_dump(), PREDICTIONS)
    for label, (negatives, positives) in fitted.counts.items():
        print(f"{config.method.name} for {label}: fitted on {positives:,} positive and {negatives:,} negative images")
    for label, reason in point.missing.items():
        print(f"operating point {point.name} has no threshold for {label} ({reason}): its flags are null")
    storage.write_bytes(storage.join(output, POINTS), operating_points.to_json(document))
    embedding_screen.write_classified(screen, fitted, point, output, run_id)

    taken = accounts.take(screen.plan, output, layout(embeddings=False))
    print(f"{taken.asked:>9,} images in the manifest")
    for status, count in sorted(taken.by_status.items(), key=lambda item: -item[1]):
        print(f"{count:>9,} {status}")
    print(f"{taken.flagged:>9,} above the operating point; not flagged is not normal")
    for problem in taken.problems:
        print(f"PROBLEM: {problem}")
    for name in (PREDICTIONS, MASKS, POINTS):
        print(f"{name}: {storage.join(output, name)}")
    return taken

"""Fit the paper's random forest or SVM on the embeddings of a screen, and score every image of it from the tables.

No image and no network is read. The scores order the images; they are not calibrated probabilities. A second run of the
same command writes the same rows again.
"""

from comit_ray import cli, operating_points, storage
from comit_ray.screening import embedding_scores, embedding_tables
from comit_ray.screening.layout import MASKS, PREDICTIONS, layout
from comit_ray.shallow_config import EmbeddingClassifierConfig
from comit_ray.work import accounts, run_record

POINTS = "operating_points.json"


def job(config: EmbeddingClassifierConfig) -> int:
    """Fit, choose thresholds, score; exit status 0 only if every image of the manifest has exactly one row."""
    output = storage.normalise(config.output)
    screen = embedding_tables.open_screen(config.results, config.manifest)
    images = embedding_tables.labelled(screen, config.manifest)
    fitted = embedding_scores.fit(images, screen.model_id, config)
    document, point = embedding_scores.choose_thresholds(fitted, images, config)
    asked = embedding_scores.question(screen, fitted, point, config)
    run_id = run_record.open_run(output, asked, config.model_dump(), PREDICTIONS)
    for label, (negatives, positives) in fitted.counts.items():
        print(f"{config.method.name} for {label}: fitted on {positives:,} positive and {negatives:,} negative images")
    for label, reason in point.missing.items():
        print(f"operating point {point.name} has no threshold for {label} ({reason}): its flags are null")
    storage.write_bytes(storage.join(output, POINTS), operating_points.to_json(document))
    embedding_scores.write(screen, fitted, point, output, run_id)

    taken = accounts.take(screen.plan, output, layout(embeddings=False))
    print(f"{taken.asked:>9,} images in the manifest")
    for status, count in sorted(taken.by_status.items(), key=lambda item: -item[1]):
        print(f"{count:>9,} {status}")
    print(f"{taken.flagged:>9,} above the operating point; not flagged is not normal")
    for problem in taken.problems:
        print(f"PROBLEM: {problem}")
    for name in (PREDICTIONS, MASKS, POINTS):
        print(f"{name}: {storage.join(output, name)}")
    return 0 if taken.balanced else 1


if __name__ == "__main__":
    cli.run(job, EmbeddingClassifierConfig, __doc__ or "")

"""Score a screened, labelled archive, a bare predictions table or a study, from tables alone: no model is loaded.

Writes report.md, metrics.json, tables/ and figures/.
"""

from comit_ray import cli
from comit_ray.chunks import nodes
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.evaluation import screen_report
from comit_ray.evaluation.study import study_report
from comit_ray.storage import storage


def job(config: EvaluateConfig) -> int:
    """Read the tables, write the report, print it."""
    nodes.check_submitted({}, {"output": config.output})
    if config.study is not None:
        text = study_report.write(config.study, config.manifest, config.output, config)
    else:
        text = screen_report.write(config)
    print(text)
    print(f"report: {storage.normalise(config.output)}")
    return 0


if __name__ == "__main__":
    cli.run(job, EvaluateConfig, __doc__ or "")

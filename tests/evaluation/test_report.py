import pandas as pd

from comit_ray.config import EvaluateConfig
from comit_ray.evaluation.report import markdown
from comit_ray.evaluation.scores import Figure


def test_figures_are_cut_not_rounded_and_carry_their_n():
    figures = [
        Figure("auroc", 0.99999, 10, "test", "all"),
        Figure("auroc", None, 1, "test", "dataset=a"),
        Figure("sensitivity_at_operating_point", 0.5, 4, "test", "all", at="specificity_0.90", low=0.15, high=0.85),
    ]
    text = markdown(figures, pd.DataFrame(), EvaluateConfig(results="r", manifest="m", output="o"))
    assert "| auroc |  | 0.9999 (n=10) | undefined (n=1) |" in text
    assert "0.5000 [0.1500, 0.8500] (n=4)" in text
    assert "Not for diagnosis" in text

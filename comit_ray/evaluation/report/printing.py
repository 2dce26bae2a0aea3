"""How a figure is printed: cut, never rounded, with its interval and what it is taken over."""

from comit_ray.statistics.intervals import NEWCOMBE, WILSON
from comit_ray.statistics.metric import OVER_PATIENTS, Figure


def cell(figure: Figure | None) -> str:
    """The value, its interval (w: Wilson's, p: Newcombe's) and its n, with the patients where these are fewer."""
    if figure is None:
        return ""
    fewer = figure.patients is not None and figure.patients != figure.n
    count = f"n={figure.n:,} of {figure.patients:,} patients" if fewer else f"n={figure.n:,}"
    if figure.value is None:
        return f"undefined ({count})"
    return f"{with_interval(figure)} ({count})"


def with_interval(figure: Figure) -> str:
    """The value and its interval."""
    if figure.value is None:
        return "undefined"
    if figure.low is None or figure.high is None:
        return cut(figure.value)
    mark = {WILSON: " w", OVER_PATIENTS: " w", NEWCOMBE: " p"}.get(figure.interval or "", "")
    return f"{cut(figure.value)} [{cut(figure.low)}, {cut(figure.high)}]{mark}"


def cut(value: float) -> str:
    """Four digits, cut and not rounded."""
    return f"{int(value * 10_000 + 1e-9) / 10_000:.4f}"

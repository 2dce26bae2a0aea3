"""Screen archives of chest radiographs with COMiT-Net.

    import comit_ray

    model = comit_ray.load("runs/first/best")
    result = model.predict("chest.dcm")
    results = comit_ray.open_results("out")

Both functions are in `comit_ray.api`, which is imported when one of them is first asked for (PEP 562). So
`import comit_ray` alone imports no torch, no Ray and no pandas.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comit_ray.api import Result, Results, ScreeningModel, load, open_results

__all__ = ["Result", "Results", "ScreeningModel", "load", "open_results"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'comit_ray' has no attribute {name!r}; it has {', '.join(__all__)}")
    from comit_ray import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)

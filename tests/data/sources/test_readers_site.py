import pytest

from comit_ray.data.sources.readers import site_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.sirm.org/category/x", "sirm"),
        ("https://radiopaedia.org/cases/1", "radiopaedia"),
        ("www.eurorad.org/case/1", "eurorad"),
        ("https://www.thelancet.com/a", "thelancet.com"),
        ("https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#1590858128006", "bimcv"),
        ("https://github.com/ml-workgroup/covid-19-image-repository/tree/master/png", "ml-workgroup"),
        ("https://github.com", "github.com"),
        ("https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data", "rsna-pneumonia-detection-challenge"),
        ("https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia", "paultimothymooney"),
        ("https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia", "paultimothymooney"),
        ("http://[a bracket", None),
        ("", None),
    ],
)
def test_site_of(url: str, expected: str | None) -> None:
    assert site_of(url) == expected

"""Where on the web an image came from, by its URL: what the column `site` says of collections of published images."""

from urllib.parse import SplitResult, urlsplit

_SITES = ("sirm", "radiopaedia", "eurorad", "bsti", "rsna", "figure1", "bimcv")  # known by a label of the host name
_SHARED_HOSTS = {"github.com", "kaggle.com"}  # one host, many collections: the first folder tells them apart
_SHELVES = {"c", "competitions", "datasets"}  # folders of Kaggle before the collection's own


def site_of(url: str) -> str | None:
    """`sirm`, `radiopaedia`, `eurorad` ... from the URL's host; an unknown host stands for itself.

    On GitHub and Kaggle the owner or the competition is the site: `https://github.com/ml-workgroup/x` is
    `ml-workgroup`. None for a blank cell or one that is no URL.
    """
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
    except ValueError:
        return None
    host = (parts.hostname or "").removeprefix("www.")
    if host in _SHARED_HOSTS:
        return _owner(parts) or host
    return next((site for site in _SITES if site in host.split(".")), host or None)


def _owner(parts: SplitResult) -> str | None:
    folders = [folder for folder in parts.path.split("/") if folder]
    return next((folder for folder in folders if folder not in _SHELVES), None)

"""Installs packages with uv, or with pip where uv cannot; takes the arguments of `pip install`.

    python .ci/install.py --constraint constraints.txt --editable '.[dev]'

uv needs about a sixth of pip's time for the packages of this project, and chooses the same versions. It reads none of
pip's settings. So this script passes on those that say where packages come from: a mirror that is set up for pip then
serves uv too. Both leave it to Python to compile what is imported: to compile all 24,000 files takes two minutes.
"""

import ast
import os
import subprocess
import sys

PASSED_ON = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
"""A setting of pip, and the variable of uv that means the same, with what stands between several values.

Sources: pip's page "Configuration", uv's page "Environment variables".
"""
SECTIONS = ("global", "install", ":env:")
"""Where pip finds a setting; a later one overrides an earlier one."""


def uv_variables(listed: str) -> dict[str, str]:
    """Returns uv's environment variables for what `pip config list` printed.

    Example:
        >>> uv_variables("global.index-url='https://mirror.example/simple'")
        {'UV_DEFAULT_INDEX': 'https://mirror.example/simple'}
    """
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found and key in PASSED_ON:
            found[section][key] = ast.literal_eval(value)
    settings = {key: value for section in SECTIONS for key, value in found[section].items()}
    variables = {PASSED_ON[key][0]: PASSED_ON[key][1].join(value.split()) for key, value in settings.items()}
    if "UV_INDEX" in variables:  # as pip does, look in every index and take the newest version that fits
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def main(arguments: list[str]) -> int:
    """Installs, and returns the exit status."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-compile"]
    listed = subprocess.run([*pip, "config", "list"], check=True, capture_output=True, text=True).stdout
    if subprocess.run([*install, "--constraint", "constraints.txt", "uv"]).returncode == 0:
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
        if subprocess.run([*uv, *arguments], env=uv_variables(listed) | os.environ).returncode == 0:
            return 0
    print("uv could not install the packages; pip tries now, which takes some minutes", file=sys.stderr)
    return subprocess.run([*install, *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

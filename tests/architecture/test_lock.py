"""The lock file names no mirror and no path of one machine."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tests.architecture.packages import ROOT

CANONICAL_HOSTS = {"pypi.org", "files.pythonhosted.org"}


def test_lock_file_names_only_the_hosts_of_pypi() -> None:
    urls = re.findall(r"[a-z+]+://[^\s\"']+", (ROOT / "uv.lock").read_text("utf-8"))

    assert {urlsplit(url).netloc for url in urls} == CANONICAL_HOSTS
    assert {urlsplit(url).scheme for url in urls} == {"https"}

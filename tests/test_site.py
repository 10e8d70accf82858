"""The documentation builds as a site: every link and anchor in it leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import manual


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip('needs MkDocs: pip install "lightkorllm[docs]"')
    pages, site, config = tmp_path / "pages", tmp_path / "site", tmp_path / "mkdocs.yml"
    text = manual.read(manual.ROOT / "mkdocs.yml")
    config.write_text(text.replace("docs_dir: build/pages", f"docs_dir: {pages}"), encoding="utf-8")
    script = manual.ROOT / "docs" / "site.py"
    subprocess.run([sys.executable, str(script), str(pages)], check=True)

    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", config, "-d", site],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (built.returncode, built.stderr.strip()) == (0, "")
    for page in ("index.html", "en/index.html", "trouble/index.html", "en/how/index.html"):
        assert (site / page).is_file()
    assert 'class="mermaid"' in manual.read(site / "how" / "index.html")
    assert 'lang="ko"' in manual.read(site / "index.html")

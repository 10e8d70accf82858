"""Lays the documentation out as a site generator wants it: `python docs/site.py FOLDER`.

On GitHub, a page links to `../README.md` and to other files of the repository. A site has only one
folder of pages, so the READMEs become its first pages, every other file that is linked goes under
`repository/`, and links are rewritten to fit. Names of code blocks, which our tests use, are left
out: the generator's Markdown knows only a language there.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_PAGES = {"README.md": "index.md", "README.en.md": "en/index.md"}
_FENCE = re.compile(r"^(```\w+) .*$", re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s#:]+)(?=[#)])")


def lay_out(folder: Path) -> None:
    """Write the pages, and from page to page all that is linked, into a folder made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [*FIRST_PAGES, *sorted(_from_root(path) for path in ROOT.glob("docs/**/*.md"))]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        target = folder / _place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not path.endswith(".md"):
            shutil.copyfile(ROOT / path, target)
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        target.write_text(_rewritten(text, path), encoding="utf-8")
        linked = (_linked(path, found[2]) for found in _LINK.finditer(text))
        new = {file for file in linked if (ROOT / file).is_file()} - seen
        seen |= new
        waiting.extend(sorted(new))


def _rewritten(text: str, path: str) -> str:
    """A page as the generator reads it, its links pointing to where their files are in the site."""
    here = posixpath.dirname(_place(path)) or "."
    return _LINK.sub(
        lambda link: link[1] + posixpath.relpath(_place(_linked(path, link[2])), here),
        _FENCE.sub(r"\1", text),
    )


def _linked(path: str, link: str) -> str:
    """The file that a link of the page at `path` leads to, from the repository's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _place(path: str) -> str:
    """Where a file of the repository is in the site."""
    if path in FIRST_PAGES:
        return FIRST_PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"


def _from_root(path: Path) -> str:
    return str(path.relative_to(ROOT)).replace(os.sep, "/")


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))

"""The rule that every relative link in the project's documents leads to something that is there."""

import re
from collections.abc import Iterator
from pathlib import Path

from tidy.source import Violation

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|\b(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def documents(root: Path) -> list[Path]:
    """The Markdown files of the repository at `root`: those at its top and all below docs."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


def broken_links(root: Path, document: Path) -> Iterator[Violation]:
    """Every relative link of `document` whose file is absent, lies outside the repository, or lacks the heading."""
    text = document.read_text(encoding="utf-8")
    prose = _blanked(_CODE, _blanked(_FENCE, text))
    for match in _LINK.finditer(prose):
        link = next(group for group in match.groups() if group)
        if _ELSEWHERE.match(link):
            continue
        problem = _problem(root, document, link)
        if problem:
            line = prose.count("\n", 0, match.start()) + 1
            yield Violation(document.relative_to(root).as_posix(), line, f"the link {link} {problem}")


def _problem(root: Path, document: Path, link: str) -> str:
    path, _, heading = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.is_relative_to(root.resolve()):
        return "leaves the repository"
    if not target.exists():
        return "leads nowhere"
    if heading and target.suffix == ".md" and heading not in _headings(target.read_text(encoding="utf-8")):
        return "names no heading there"
    return ""


def _headings(text: str) -> set[str]:
    """The headings as GitHub's anchors: lower case, punctuation dropped, spaces as dashes."""
    titles = _HEADING.findall(_blanked(_FENCE, text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    """`text` with what matches replaced by its line breaks, so that line numbers stay right."""
    return pattern.sub(lambda match: "\n" * match[0].count("\n"), text)

"""The documentation site: the pages of ``docs``, laid out so that every link works in it, and built into one folder.

    python -m scripts.site [FOLDER]        build it into FOLDER (build/site), which must be absent, empty or a site

The pages are written for whoever reads them in the repository: they link to the code, and draw charts as GitHub draws
them. So a copy of them is laid out first. There, each file of the repository that a page links to is a page too, each
chart is a picture, and the navigation is that of `SECTIONS`; what is in a folder is found by itself. The generator
(decision 0033) then makes HTML of it, which loads nothing from elsewhere.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from scripts import charts

ROOT = Path(__file__).resolve().parent.parent
HOME = PurePosixPath("index.md")
PROJECT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")

SECTIONS: Mapping[str, str | tuple[str, ...]] = {
    "Roost": "index.md",
    "Start": ("start.md", "concepts.md", "not-for.md"),
    "Guides": "guides",
    "Running it": ("operations.md", "performance.md", "security.md"),
    "How it works": "how",
    "Reference": "reference",
    "Inside": ("ARCHITECTURE.md", "format.md", "protocol.md"),
    "Decisions": "decisions",
    "Project": "project",
}
"""What the navigation shows: one page, some pages, or a folder, whose README.md says in which order."""

_FENCE = re.compile(r"^(?P<mark>```+|~~~+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=mark)[^\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"(?P<before>\]\(\s*<?|\b(?:src|href)=\")(?P<link>[^)\s>\"]+)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)
_LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".js": "js"}


class GeneratorMissing(Exception):
    """What makes HTML of the pages is not installed."""


def main(arguments: list[str]) -> int:
    """Build the site into the folder that is named; the exit code."""
    target = Path(arguments[0]) if arguments else ROOT / "build" / "site"
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not is_free and not (target / "sitemap.xml").exists():
        print(f"{target} is neither empty nor a site that was built before; name another folder", file=sys.stderr)
        return 1
    try:
        build(target)
    except GeneratorMissing as error:
        print(f"{error}; install it with: pip install -e '.[docs]'", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(error.output, file=sys.stderr)
        return 1
    print(target)
    return 0


def build(target: Path) -> str:
    """Build the site into `target`, replacing what was there; what the generator said.

    GeneratorMissing when the generator is not installed; CalledProcessError, with its output, when it finds fault.
    """
    generator = Path(sys.executable).parent / "zensical"
    if not generator.exists():
        raise GeneratorMissing(f"the site's generator, zensical, is not beside {sys.executable}")
    with tempfile.TemporaryDirectory(prefix="roost-site-") as folder:
        lay_out(Path(folder))
        done = subprocess.run(
            [generator, "build", "--strict", "--config-file", "mkdocs.yml"],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        )
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(Path(folder) / "site", target)
        return done.stdout


def lay_out(folder: Path) -> None:
    """Write the pages, and the generator's settings, into `folder`. ValueError for a page that cannot be shown."""
    waiting = [path.relative_to(ROOT) for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    waiting += [Path(name) for name in PROJECT]
    known = set(waiting)
    for path in waiting:  # which grows, by what pages link to
        target = folder / "docs" / place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text, linked = _page(path)
            target.write_text(text, encoding="utf-8")
            waiting += sorted(linked - known)
            known |= linked
        elif path.parts[0] == "docs":
            shutil.copyfile(ROOT / path, target)
        else:
            target.write_text(_source(path), encoding="utf-8")
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    settings["nav"] = list(_navigation(folder / "docs"))
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def place(path: Path) -> PurePosixPath:
    """Where the site has the file `path` of the repository, below its pages."""
    if path.parts[0] == "docs":
        return PurePosixPath(*path.parts[1:])
    if path.name in PROJECT:
        return PurePosixPath("project", path.with_suffix(".md").name)
    # A dot at the beginning hides a file from the generator.
    return PurePosixPath("source", *path.parts[:-1], f"{path.name.lstrip('.')}.md")


def _page(path: Path) -> tuple[str, set[Path]]:
    """The page with its charts drawn and its links led to the site's pages, and the files that it links to."""
    linked: set[Path] = set()

    def led(match: re.Match[str]) -> str:
        link = match["link"]
        if _ELSEWHERE.match(link):
            return match[0]
        file, mark, heading = link.partition("#")
        target = Path(os.path.normpath(path.parent / file))
        if (ROOT / target).is_dir() and (ROOT / target / "README.md").exists():
            target /= "README.md"
        linked.add(target)
        return f"{match['before']}{os.path.relpath(place(target), place(path).parent)}{mark}{heading}"

    text, end = "", 0
    whole = (ROOT / path).read_text(encoding="utf-8")
    for fence in _FENCE.finditer(whole):
        text += _outside_code(whole[end : fence.start()], led)
        text += _drawn(path, fence) if fence["info"].strip() == "mermaid" else fence[0]
        end = fence.end()
    return text + _outside_code(whole[end:], led), linked


def _outside_code(text: str, led: Any) -> str:
    """`text` with the links replaced that are not in backquotes."""
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [_LINK.sub(led, text[end : code.start()]), code[0]]
        end = code.end()
    # A link's own text may be in backquotes, so that what follows begins with the rest of it: ](...)
    return "".join([*parts, _LINK.sub(led, text[end:])])


def _drawn(path: Path, fence: re.Match[str]) -> str:
    try:
        return charts.drawn(charts.parse(fence["text"]))
    except ValueError as error:
        line = fence.string.count("\n", 0, fence.start()) + 1
        raise ValueError(f"{path}:{line}: {error}") from error


def _source(path: Path) -> str:
    """A page that shows a file of the repository, or what is in a folder."""
    if (ROOT / path).is_dir():
        inside = [entry for entry in (ROOT / path).iterdir() if entry.name[0] not in "._"]
        names = sorted(entry.name + "/" * entry.is_dir() for entry in inside)
        return f"# {path.as_posix()}/\n\n" + "".join(f"- `{name}`\n" for name in names)
    text = (ROOT / path).read_text(encoding="utf-8")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"# {path.as_posix()}\n\n{fence}{_LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _navigation(pages: Path) -> Iterator[dict[str, Any]]:
    for title, what in SECTIONS.items():
        if isinstance(what, tuple):
            yield {title: list(what)}
        elif (pages / what).is_dir():
            yield {title: [f"{what}/{name}" for name in _in_order(pages / what)]}
        else:
            yield {title: what}


def _in_order(folder: Path) -> list[str]:
    """The pages of a folder: first its README.md, then in the order in which that names them, then the others."""
    found = sorted(path.name for path in folder.glob("*.md"))
    index = folder / "README.md"
    if not index.exists():
        return found
    text = index.read_text(encoding="utf-8")
    told = [name for name in dict.fromkeys(re.findall(r"\]\(([\w.-]+\.md)\)", text)) if name in found]
    return list(dict.fromkeys([index.name, *told, *found]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

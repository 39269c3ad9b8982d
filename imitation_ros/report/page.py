"""One self-contained HTML page from a list of sections.

Pictures and films are data URIs, the style is inside: the file can be mailed, and opens without a
network. Every text is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
import os
from pathlib import Path
import tempfile

from imitation_ros.errors import one_of

MEDIA_TYPES = {
    '.png': 'image/png', '.svg': 'image/svg+xml', '.gif': 'image/gif', '.mp4': 'video/mp4'
}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fcfcfb; --line: #d8dadd;
  --soft: #f1f2f3; --faint: #5b6167; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e8; --paper: #17191c;
  --line: #3a3e43; --soft: #22252a; --faint: #a2a9b0; } }
body { color: var(--ink); background: var(--paper); margin: 0 auto; padding: 2rem 1.2rem 4rem;
  max-width: 46rem; font: 1rem/1.6 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin-top: 2.6rem; }
.lead { font-size: 1.1rem; color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .45rem .8rem; border-bottom: 1px solid var(--line); }
th { background: var(--soft); }
td.number, th.number { text-align: right; }
figure { margin: 1.4rem 0; }
figure img, figure video { display: block; width: 100%; border-radius: 6px; background: #fff;
  border: 1px solid var(--line); box-sizing: border-box; }
figcaption { color: var(--faint); font-size: .92rem; margin-top: .5rem; }
"""


@dataclass(frozen=True)
class Table:
    """Rows below a header; a column of numbers is aligned to the right.

    Raises:
        ValueError: a row that is not as long as the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f'row {list(row)} below header {list(self.header)}')


@dataclass(frozen=True)
class Picture:
    """A plot or film: a .png, .svg, .gif or .mp4 file, and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a report: what happened, in plain words, and what shows it.

    Attributes:
        title: of the section.
        text: paragraphs, with an empty line between two.
        table: below the text.
        figures: below the table.
    """

    title: str
    text: str = ''
    table: Table | None = None
    figures: Sequence[Picture] = ()


def render_page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """Returns the page as HTML.

    Args:
        title: of the page.
        lead: the result in a sentence or two.
        sections: in order.

    Raises:
        ValueError: a figure of a kind that a page cannot show.
        OSError: a figure that cannot be read.
    """
    body = '\n'.join(_section(section) for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n'
        '</body>\n</html>\n'
    )


def write_page(path: str | Path, title: str, lead: str, sections: Iterable[Section]) -> Path:
    """Renders the page and puts it in place as a whole: an earlier one stays until then."""
    path, page = Path(path), render_page(title, lead, sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with open(handle, 'w', encoding='utf-8') as file:
            file.write(page)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _section(section: Section) -> str:
    paragraphs = [part.strip() for part in section.text.split('\n\n') if part.strip()]
    return '\n'.join(
        [
            '<section>',
            f'<h2>{escape(section.title)}</h2>',
            *(f'<p>{escape(paragraph)}</p>' for paragraph in paragraphs),
            *([_table(section.table)] if section.table else []),
            *(_figure(figure) for figure in section.figures),
            '</section>',
        ]
    )


def _table(table: Table) -> str:
    numeric = [all(_is_number(row[column]) for row in table.rows) for column in _columns(table)]

    def row(tag: str, cells: Sequence[object]) -> str:
        marks = (' class="number"' if number else '' for number in numeric)
        inside = (f'<{tag}{mark}>{escape(str(cell))}</{tag}>' for mark, cell in zip(marks, cells))
        return f'<tr>{"".join(inside)}</tr>'

    rows = '\n'.join(row('td', cells) for cells in table.rows)
    return (
        f'<div class="scroll"><table>\n<thead>{row("th", table.header)}</thead>\n'
        f'<tbody>\n{rows}\n</tbody>\n</table></div>'
    )


def _columns(table: Table) -> range:
    return range(len(table.header))


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) or str(cell)[:1].isdigit()


def _figure(figure: Picture) -> str:
    suffix = Path(figure.path).suffix
    if suffix not in MEDIA_TYPES:
        raise ValueError(f'figure {figure.path}: {one_of(suffix, MEDIA_TYPES)}')
    data = base64.b64encode(Path(figure.path).read_bytes()).decode('ascii')
    source = f'src="data:{MEDIA_TYPES[suffix]};base64,{data}"'
    caption = escape(figure.caption)
    shown = (
        f'<video {source} aria-label="{caption}" autoplay loop muted playsinline controls></video>'
        if suffix == '.mp4'
        else f'<img {source} alt="{caption}">'
    )
    return f'<figure>{shown}<figcaption>{caption}</figcaption></figure>'

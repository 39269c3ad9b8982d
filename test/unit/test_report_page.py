"""The page of a report: self-contained, escaped, whole."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

from imitation_ros.report.page import Picture, render_page, Section, Table, write_page
import pytest


class Page(HTMLParser):
    """What a browser would load, and the text it would show."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.sources, self.open, self.text = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for key, value in attributes if key in ('src', 'href')]
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture
def pictures(tmp_path):
    made = []
    for name in ('loss.png', 'film.gif', 'film.mp4', 'shift.svg'):
        (tmp_path / name).write_bytes(name.encode())
        made.append(Picture(tmp_path / name, f'What {name} shows'))
    return made


def test_pictures_and_films_are_inside(pictures):
    page = Page(render_page('Report', 'It worked.', [Section('Plots', figures=pictures)]))
    kinds = [source.partition(';')[0] for source in page.sources]
    assert kinds == ['data:image/png', 'data:image/gif', 'data:video/mp4', 'data:image/svg+xml']
    assert base64.b64decode(page.sources[0].partition(',')[2]) == b'loss.png'
    assert page.tags.count('img') == 3
    assert page.tags.count('video') == 1
    assert not page.open


def test_nothing_is_loaded_from_elsewhere(pictures):
    html = render_page('Report', 'It worked.', [Section('Plots', figures=pictures)])
    assert not any(word in html for word in ('http:', 'https:', '<script', '<link', '@import'))


def test_every_text_is_escaped(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    evil = '<script>alert("1")</script>&'
    table = Table((evil,), [(evil,)])
    figures = [Picture(tmp_path / 'a.png', evil)]
    page = Page(render_page(evil, evil, [Section(evil, evil, table, figures)]))
    assert 'script' not in page.tags
    assert page.text.count(evil) == 8  # twice the title


def test_an_empty_line_starts_a_paragraph():
    page = Page(render_page('Report', '', [Section('What happened', 'One.\nStill one.\n\nTwo.')]))
    assert page.tags.count('p') == 3  # the lead is one
    assert 'One.\nStill one.' in page.text


def test_columns_of_numbers_stand_to_the_right():
    table = Table(('who', 'success', 'episodes'), [('expert', '98 %', 50), ('clone', '92 %', 50)])
    html = render_page('Report', '', [Section('Results', table=table)])
    assert '<th>who</th><th class="number">success</th><th class="number">episodes</th>' in html


def test_a_row_must_fit_the_header():
    with pytest.raises(ValueError, match=r"row \['expert'\] below header \['who', 'success'\]"):
        Table(('who', 'success'), [('expert',)])


def test_a_figure_of_another_kind_is_refused(tmp_path):
    section = Section('Plots', figures=[Picture(tmp_path / 'plot.pdf', '')])
    with pytest.raises(ValueError, match=r'plot\.pdf: .*valid: \.png'):
        render_page('Report', '', [section])


def test_a_page_that_cannot_be_made_leaves_the_old_one(tmp_path):
    path = write_page(tmp_path / 'out' / 'report.html', 'Report', 'First.', [])
    missing = Section('Plots', figures=[Picture(tmp_path / 'missing.png', '')])
    with pytest.raises(FileNotFoundError, match='missing'):
        write_page(path, 'Report', 'Second.', [missing])
    assert 'First.' in path.read_text(encoding='utf-8')
    assert [file.name for file in path.parent.iterdir()] == ['report.html']

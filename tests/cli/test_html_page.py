import base64
import html.parser
import re

import pytest
from matplotlib.figure import Figure

from codepmp_jax.cli import html_page

HOSTILE = "<script>alert('1')</script> & \"$x_$\""


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the texts, of a page whose tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_page_holds_its_parts_and_needs_nothing_beside_it():
    figure = Figure()
    figure.subplots().plot([1, 2])
    content = [
        html_page.tables(html_page.table(("name", "n"), [("a", 1234), ("b", 0.25)])),
        html_page.plots([html_page.image("A plot", figure, "How to read it.")]),
        html_page.paragraph("The end."),
    ]
    page = Page(html_page.page("Title", [html_page.section("Part", "".join(content)), ""]))
    for text in ("Title", "Part", "1,234", "0.2", "How to read it.", "The end."):
        assert text in page.texts
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    head, data = image["src"].split(",", 1)
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == html_page.png(figure)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe"}


def test_names_do_nothing():
    table = html_page.table((HOSTILE,), [(HOSTILE,)])
    image = html_page.image(HOSTILE, Figure(), HOSTILE)
    parts = [html_page.section(HOSTILE, table + image), html_page.paragraph(HOSTILE)]
    page = Page(html_page.page(HOSTILE, parts))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.texts.count(HOSTILE) == 7
    assert HOSTILE in [attributes.get("alt") for tag, attributes in page.tags if tag == "img"]


def test_what_is_empty_is_left_out():
    assert html_page.section("Title", "") == ""
    assert html_page.table(("a",), []) == ""
    assert html_page.tables("", "") == ""
    assert html_page.plots([]) == ""


def test_long_tables_say_what_they_leave_out():
    table = html_page.table(("n",), [(i,) for i in range(130)])
    assert len(re.findall("<td", table)) == 100
    assert "and 30 more in report.json" in table


def test_figures_show_names_as_they_are():
    with html_page.plain_names():
        figure = Figure()
        figure.subplots().set_title("$\\nothing_ 日本")
    assert html_page.png(figure).startswith(b"\x89PNG")
    # What the context is for.
    formula = Figure()
    formula.subplots().set_title("$\\nothing_$")
    with pytest.raises(ValueError, match="Unknown symbol"):
        html_page.png(formula)


def test_a_page_is_written_whole(tmp_path):
    path = tmp_path / "new" / "page.html"
    html_page.write(path, "日本")
    assert path.read_text(encoding="utf-8") == "日本"
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]

"""HTML to Markdown: code to the letter, the rest as a person types it, and nothing a page contains breaks it."""

import html
import re
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helptune.data.sources.html import LONGEST, MOST_TAGS, to_markdown
from helptune.errors import DataError

SHAPES = {
    "paragraphs": ("<p>one</p>\n\n<p>two</p>\n", "one\n\ntwo"),
    "no tags": ("just text", "just text"),
    "empty": ("", ""),
    "entities": ("<p>a &lt; b &amp;&amp; c &gt; d &copy; &#8364; &hellip; &nbsp;x</p>", "a < b && c > d © € … \xa0x"),
    "entity without end": ("<p>fish &amp chips &unknown; AT&T</p>", "fish & chips &unknown; AT&T"),
    "snake_case and stars": ("<p>my_long_name = 2*3*4</p>", "my_long_name = 2*3*4"),
    "inline code": ("<p>call <code>f(a, *b)</code>.</p>", "call `f(a, *b)`."),
    "code with backticks": ("<p><code>a `b` c</code></p>", "`` a `b` c ``"),
    "keyboard": ("<p>Press <kbd>Ctrl</kbd>+<kbd>C</kbd></p>", "Press `Ctrl`+`C`"),
    "emphasis": ("<p><em>a</em> <strong>b</strong> <b>c</b> <i>d</i> <s>e</s></p>", "*a* **b** **c** *d* ~~e~~"),
    "link": ('<p><a href="https://a.org/x_y" rel="nofollow">a page</a></p>', "[a page](https://a.org/x_y)"),
    "bare link": ('<a href="https://a.org">https://a.org</a>', "<https://a.org>"),
    "link within a site": ('<p>see <a href="/q/1">this</a> and <a href="#top">top</a></p>', "see this and top"),
    "script in a link": ('<a href="javascript:alert(1)">click</a>', "click"),
    "link without address": ("<a name='x'>here</a>", "here"),
    "image": ('<p>so: <img src="https://i.org/1.png" alt="a red\n box"></p>', "so: a red box"),
    "image without text": ('<p>so: <img src="https://i.org/1.png"> done</p>', "so:  done"),
    "image in a link": ('<a href="https://i.org"><img src="x.png" alt="a box"></a>', "[a box](https://i.org)"),
    "list": ("<ul>\n<li>a</li>\n<li><p>b</p></li>\n</ul>", "- a\n- b"),
    "list in a list": ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
    "numbers": ('<ol start="3"><li>a</li><li>b</li></ol>', "3. a\n4. b"),
    "odd start": ('<ol start="²"><li>a</li></ol>', "1. a"),
    "unclosed items": ("<ul><li>a<li>b<li>c</ul>", "- a\n- b\n- c"),
    "item outside of a list": ("<li>a</li>", "- a"),
    "quote": ("<blockquote>\n<p>a</p>\n<p>b</p>\n</blockquote>\n<p>c</p>", "> a\n>\n> b\n\nc"),
    "headings": ("<h1>a</h1><h2>b</h2><h3>c</h3>", "# a\n\n## b\n\n### c"),
    "rule": ("<p>a</p><hr><p>b</p>", "a\n\n---\n\nb"),
    "line break": ("<p>a<br>b<br/>c</p>", "a  \nb  \nc"),
    "powers": ("<p>x<sup>2</sup> and a<sub>i</sub></p>", "x^2 and a_i"),
    "script": ("<p>a</p><script>alert('<p>x</p>')</script><style>p {color: red}</style><p>b</p>", "a\n\nb"),
    "comment": ("<p>a<!-- not <b>this</b> --></p>", "a"),
    "table": (
        "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        "| a | b |\n| --- | --- |\n| 1 | 2 |",
    ),
    "odd span": ('<table><tr><th colspan="²">a</th></tr></table>', "| a |\n| --- |"),
    "unclosed": ("<p>a <b>bold<p>next", "a **bold**\n\nnext"),
    "wrongly nested": ("<b><i>x</b></i> y", "***x*** y"),
    "stray end": ("a</div></p> b", "a b"),
    "less than": ("if a < b then c", "if a < b then c"),
    "zero byte": ("<p>a\0b</p>", "ab"),
    "spoiler": ('<blockquote class="spoiler"><p>It was the cook</p></blockquote>', "> It was the cook"),
    "code block": ("<pre><code>if x &lt; 1:\n    y()\n\n\tz\n</code></pre>", "```\nif x < 1:\n    y()\n\n\tz\n```"),
    "named code": ('<pre class="lang-py prettyprint-override"><code>x\n</code></pre>', "```python\nx\n```"),
    "named by the inner tag": ('<pre><code class="language-c++">x</code></pre>', "```c++\nx\n```"),
    "no highlighting": ('<pre class="lang-none"><code>x</code></pre>', "```\nx\n```"),
    "pre alone": ("<pre>a\n  b</pre>", "```\na\n  b\n```"),
    "marked code": ("<pre><code>a <b>b</b>\n<span>c</span><br>d</code></pre>", "```\na b\nc\nd\n```"),
    "indented first line": ("<pre><code>    a\n  b\n</code></pre>", "```\n    a\n  b\n```"),
    "fence in code": ("<pre><code>```\nx\n```\n</code></pre>", "````\n```\nx\n```\n````"),
    "stars in code": ("<pre><code>a_b * c_d *</code></pre>", "```\na_b * c_d *\n```"),
    "empty code": ("<p>a</p><pre><code>\n</code></pre>", "a"),
    "code in a list": (
        "<ol><li><p>do</p><pre><code>a\n  b</code></pre></li></ol>",
        "1. do\n\n   ```\n   a\n     b\n   ```",
    ),
    "code in a quote": ("<blockquote><pre><code>a\n  b</code></pre></blockquote>", "> ```\n> a\n>   b\n> ```"),
    "code between text": ("a<pre><code>b</code></pre>c", "a\n\n```\nb\n```\n\nc"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_real_pages(name):
    found, expected = SHAPES[name]
    assert to_markdown(found) == expected


PRINTABLE = st.characters(categories=["L", "N", "P", "S", "Zs"], include_characters="\n\t`")


@settings(deadline=None)
@given(st.text(PRINTABLE, min_size=1))
@example("\n    a\n")
@example("````\n</code></pre>")
def test_code_is_kept_to_the_letter_but_for_blank_lines_around_it(code):
    page = f"<p>x</p><pre><code>{html.escape(code)}\n</code></pre><p>y</p>"
    kept = code.strip("\n")
    if kept.strip():
        found = re.fullmatch(r"x\n\n(`{3,})\n(.*)\n\1\n\ny", to_markdown(page), flags=re.S)
        assert found
        assert found.group(2) == kept
        assert found.group(1) not in kept


@settings(deadline=None)
@given(st.text(PRINTABLE))
def test_words_survive(text):
    words = text.split()
    assert to_markdown(f"<p>{html.escape(text)}</p>").split() == words


TAGS = st.sampled_from(
    ["p", "b", "pre", "code", "a", "ul", "ol", "li", "blockquote", "table", "tr", "td", "th", "h1", "br", "img", "svg"]
)
PIECES = st.one_of(
    st.builds("<{}>".format, TAGS),
    st.builds("</{}>".format, TAGS),
    st.builds(
        '<{} href="{}" start="{}" colspan="{}" class="{}">'.format, TAGS, st.text(), st.text(), st.text(), st.text()
    ),
    st.sampled_from(
        ["<!--", "-->", "<![CDATA[", "]]>", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "&a;", "<?php", "<", "&#0;", "\ud800"]
    ),
    st.text(),
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_html_raises_anything_but_data_error(page):
    with suppress(DataError):
        assert isinstance(to_markdown(page), str)


@pytest.mark.parametrize(
    "page",
    ["<b>" * 200, "<ul><li>" * 3000, "x" * (LONGEST + 1), "<br>" * (MOST_TAGS + 1)],
    ids=["deep", "deep lists", "long", "many tags"],
)
def test_a_page_made_to_exhaust_is_refused(page):
    with pytest.raises(DataError, match="HTML"):
        to_markdown(page)

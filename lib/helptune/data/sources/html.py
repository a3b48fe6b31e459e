"""The HTML of question-and-answer sites as Markdown, which is what a chat model reads and writes. Code is kept."""

import re
from functools import cache
from typing import Any

_LANGUAGE = re.compile(r"\b(?:lang(?:uage)?|brush:)[-_: ]?([A-Za-z0-9+#.-]+)")
_BACKTICKS = re.compile(r"`+")


def to_markdown(html: str) -> str:
    """Paragraphs, lists, links, quotes, emphasis,

    Whatever is broken is read as a browser would. Code keeps its indentation and empty lines, and its language where a
    class of `<pre>` or `<code>` names it.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "lxml")
    for element in soup(["script", "style", "noscript", "iframe", "object"]):
        element.decompose()
    return _converter().convert_soup(soup).strip()


@cache
def _converter() -> Any:
    from markdownify import MarkdownConverter

    class Converter(MarkdownConverter):  # its only seam: methods named after tags
        def convert_pre(self, el: Any, text: str, parent_tags: Any) -> str:
            code = el.get_text().strip("\n").rstrip()
            fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(code)), default=0))
            return f"\n\n{fence}{_language(el)}\n{code}\n{fence}\n\n" if code else ""

        def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
            return el.get("alt") or ""

    return Converter(
        heading_style="ATX", bullets="-", escape_asterisks=False, escape_underscores=False, escape_misc=False
    )


def _language(pre: Any) -> str:
    """The language that a class such as `lang-py`, `language-js` or `brush: sql` names, of the element or its code."""
    for element in (pre, pre.find("code")):
        classes = " ".join(element.get("class") or []) if element else ""
        if (found := _LANGUAGE.search(classes)) and found[1] not in ("none", "default"):
            return found[1].lower()
    return ""

"""HTML of a web page's post to Markdown, which is what people and models write in a chat.

The conversion is markdownify's; ours are code blocks, kept to the letter with the language the page names, and images
and links whose address would be noise. `*` and `_` are not escaped: the text is read by a model, and `snake_case` is
how it should look.
"""

import re
from functools import cache
from typing import Any

from helptune.errors import DataError

LONGEST = 2**20  # characters; Stack Exchange allows 30,000
DEEPEST = 100
MOST_TAGS = 10_000  # the time of a conversion grows with the square of the items of a list
_LANGUAGE = re.compile(r"(?:lang|language|brush)[-:]\s*([\w+#.-]+)")


def to_markdown(html: str) -> str:
    """Markdown of `html`, without scripts, styles and comments. Raises DataError where that cannot be made."""
    if len(html) > LONGEST:
        raise DataError(f"HTML of {len(html)} characters; at most {LONGEST} are read")
    if html.count("<") > MOST_TAGS:
        raise DataError(f"HTML of more than {MOST_TAGS} tags")
    from bs4 import BeautifulSoup

    if not html.isascii() and re.search("[\ud800-\udfff]", html):
        raise DataError("HTML with half of a character (a lone surrogate)")
    page = BeautifulSoup(html.replace("\0", ""), "lxml")
    if _depth(page) > DEEPEST:
        raise DataError(f"HTML of tags nested more than {DEEPEST} deep")
    return _converter().convert_soup(page).strip()


def _depth(page: Any) -> int:
    """How many tags stand inside of each other; markdownify is recursive, and Python's stack depends on the caller."""
    depths = {id(page): 0}
    for node in page.descendants:
        if node.name is not None:
            depths[id(node)] = depths[id(node.parent)] + 1
    return max(depths.values())


@cache
def _converter() -> Any:
    from markdownify import ATX, MarkdownConverter

    class Converter(MarkdownConverter):
        """Called by markdownify with an element, its converted text, and the names of the elements around it."""

        def convert_pre(self, el: Any, text: str, parent_tags: set[str]) -> str:
            for line_break in el.find_all("br"):
                line_break.replace_with("\n")
            code = el.get_text().replace("\r\n", "\n").strip("\n")
            if not code.strip():
                return ""
            ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
            return f"\n\n{ticks}{_language(el)}\n{code}\n{ticks}\n\n"

        def convert_img(self, el: Any, text: str, parent_tags: set[str]) -> str:
            return " ".join(str(el.get("alt") or "").split())

        def convert_a(self, el: Any, text: str, parent_tags: set[str]) -> str:
            address = str(el.get("href") or "").strip()
            if not address.startswith(("http://", "https://", "mailto:")):  # an anchor, a script, a path of that site
                return text
            el["href"] = address
            return super().convert_a(el, text, parent_tags)  # type: ignore[misc]

        def convert_sup(self, el: Any, text: str, parent_tags: set[str]) -> str:
            return f"^{text}" if text.strip() else ""

        def convert_sub(self, el: Any, text: str, parent_tags: set[str]) -> str:
            return f"_{text}" if text.strip() else ""

        def convert_li(self, el: Any, text: str, parent_tags: set[str]) -> str:
            start = el.parent.get("start") if el.parent is not None else None
            if start is not None and not re.fullmatch("[0-9]{1,9}", str(start)):
                del el.parent["start"]
            return super().convert_li(el, text, parent_tags)  # type: ignore[misc]

        def convert_td(self, el: Any, text: str, parent_tags: set[str]) -> str:
            if not re.fullmatch("[0-9]{1,2}", str(el.get("colspan", "1"))):
                del el["colspan"]
            return super().convert_td(el, text, parent_tags)  # type: ignore[misc]

        convert_th = convert_td

    return Converter(heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False)


def _language(pre: Any) -> str:
    """The language a page names in the class of a code block: `lang-py`, `language-python`, `brush: sql`."""
    code = pre.find("code")
    names = " ".join(name for el in (pre, code) if el is not None for name in el.get_attribute_list("class") if name)
    found = _LANGUAGE.search(names)
    language = found.group(1).lower() if found else ""
    return _NAMES.get(language, language)


_NAMES = {"py": "python", "js": "javascript", "ts": "typescript", "rb": "ruby", "none": "", "default": "", "text": ""}

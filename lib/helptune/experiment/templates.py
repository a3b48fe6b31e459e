"""Where HTML is made from templates: every value is escaped, and a missing one is an error."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, package: str = "helptune.experiment", **filters: Callable[..., Any]) -> Template:
    """The template of that file, among those of `package`, with filters of these names."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)

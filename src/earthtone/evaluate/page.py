"""The pages that evaluations and verbs write: templates with one frame and one style, escaped throughout."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from earthtone.wording import printable


def render_page(template: str, package: str = "earthtone.evaluate", **values: Any) -> str:
    """Return the HTML of a template in the folder of `package`, by its path there; all values are escaped.

    It extends `page.html.j2`; `title` and `notes` are the frame's own.
    """
    frame = PackageLoader("earthtone.evaluate", "")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), frame]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return shown(environment.get_template(template).render(**values))


def shown(page: str) -> str:
    """Return a page with control characters in names written out, and halves of characters, which no file can hold.

    Some turn the direction of writing, so that a reader sees another name than that of the file.
    """
    return "\t".join(map(printable, page.split("\t")))

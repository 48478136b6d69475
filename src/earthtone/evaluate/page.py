"""The pages that evaluations and verbs write: templates with one frame and one style, escaped throughout."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


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
    page = environment.get_template(template).render(**values)
    return page.encode("utf-8", "replace").decode("utf-8")  # ids made of undecodable file names hold lone surrogates

"""What the audits found, as one page for people: a file that needs nothing beside it, no network, no script.

`drawing` and `curves` make SVG from a `Chart`; `words` writes numbers; `page` puts it together. The demo's
page is drawn with the same tools and the same style sheet.
"""

from .page import Page, render, write_report

__all__ = ["Page", "render", "write_report"]

"""What the audits found, as one page: a file that needs nothing beside it, no network, no script.

`charts` makes SVG from a `Chart`, `formatting` writes numbers and texts, `page` puts it together. The demo's
page is made with the same charts and the same style sheet.
"""

from .page import Page, render, write_report

__all__ = ["Page", "render", "write_report"]

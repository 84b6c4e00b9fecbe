"""The nomogram as one page of HTML that works without a network."""

from model.page.page import Field, Unit, nomogram_page

__all__ = ["Field", "Unit", "nomogram_page"]

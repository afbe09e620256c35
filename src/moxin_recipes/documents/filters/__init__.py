"""Filters of documents, by the names that recipes use."""

_NAMES = """blank_lines classifier fineweb_quality gopher_quality gopher_repetition language lines
short url"""


def names() -> list[str]:
    """The names that a recipe may use."""
    return _NAMES.split()

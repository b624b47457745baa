"""The error of a search command."""


class SearchError(Exception):
    """An error for the client, with the text of the module."""

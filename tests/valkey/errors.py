"""The error of a search command."""


class SearchError(Exception):
    """An error that the client gets, in the words of the module."""

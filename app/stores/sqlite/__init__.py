"""The store in this process that also keeps a journal in an SQLite file."""

"""The store in this process that also writes its entries to an SQLite file (the journal)."""

"""State that outlives a process: SQLite first, any SQLAlchemy URL. Importing this package imports no SQLAlchemy."""

"""Databases of the areas of ML: one thread, one connection, SQLite or PostgreSQL; tables are each area's own."""

"""The record: decisions, orders, fills, positions and the journal, in PostgreSQL.

Here are the tables, the transactions and the migrations' runner. SQLAlchemy and psycopg are
imported in this package alone. Imported by the wiring.
"""

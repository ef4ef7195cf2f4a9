"""The stores: PostgreSQL, which is the record, and Redis, which is a fold of the journal.

Implements execution's ports. Imported by the wiring alone; a stranger to api, brokers, config and
embedded.
"""

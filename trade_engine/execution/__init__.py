"""The path to capital: the writer of each account, the order's life, routing and reconciliation.

Holds the use cases and the ports (Protocols) that the outer ring implements. Imported by api,
storage, brokers, config, embedded and the wiring; imports the pure packages and the words.
"""

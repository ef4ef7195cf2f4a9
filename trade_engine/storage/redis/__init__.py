"""The quick state: what a decision reads, as a fold of the journal at a known sequence, in Redis.

Every script in `lua/` is one operation and harmless when applied twice. Losing this store closes
the gate until it is rebuilt. redis-py is imported in this package alone. Imported by the wiring.
"""

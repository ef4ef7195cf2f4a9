"""The checks before a trade: pure functions over frozen values, one for each rule.

No clock, no chance, no waiting and no store: the same signal, state, limits and time give the same
decision for ever. Imported by execution and the rings around it; a stranger to portfolio and audit.
"""

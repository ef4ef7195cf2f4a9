"""The words: money, signals, decisions, orders, executions, positions, trading states, errors.

Frozen values and tables, made of the standard library alone; nothing here reads a clock, waits,
or knows how it is stored or sent. Every package may import it, and it imports none of them.
"""

"""The record that can prove what happened: journal entries, their hash chain, and its replay.

Pure: entries in, entries or a verdict out; where they are kept is the store's business. Imported
by execution and the rings around it; a stranger to risk and portfolio.
"""

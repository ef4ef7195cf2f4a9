"""The generated messages and services of the contract, trade_engine.v1."""

"""Trade Engine: the final gate between trading signals and real capital.

`trade_engine.client` is the library for strategies; `trade_engine.main` is the engine itself.
"""

__version__ = "0.1.0"

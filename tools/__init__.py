"""Runners that hold the engine's pure parts to published references. Not part of the product."""

"""The adapters to venues, each an implementation of the one broker port.

A venue's words become FIX's words here, and its exceptions become ours. Imported by the wiring
alone; a stranger to api, storage, config and embedded.
"""

"""The gRPC edge: authenticates, turns messages into domain values and back, and waits for answers.

Only here (and in the client library) is generated code imported. Imported by the wiring alone; a
stranger to storage, brokers, config and embedded, which it reaches through execution's ports.
"""

"""Who may speak here: node keys, the cluster's authority, mutual TLS, join tokens, and which machine this is.

Nothing in this package imports `cryptography` until it is used, so that a command that needs no certificate is quick.
"""

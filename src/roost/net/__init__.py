"""Bytes and requests between authenticated peers: the stream port, TCP with TLS, and calls with limits."""

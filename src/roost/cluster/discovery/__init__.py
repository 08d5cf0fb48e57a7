"""Finding others, and being found: the addresses of this machine, mDNS, broadcast, and the finder of all ways."""

"""The floor: the least time that a store and a gather can take on this machine, reckoned from what it measures."""

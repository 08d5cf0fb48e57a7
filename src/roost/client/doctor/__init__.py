"""The doctor: what is wrong on this machine and its network, and what mends it; judged apart from being looked at."""

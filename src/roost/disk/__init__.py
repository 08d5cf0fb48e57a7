"""The one door to durable files: the port `Disk`, the POSIX one, and the recipes that survive a power cut."""

"""What Roost tells about itself while it runs: log lines, and later counters and alert rules."""

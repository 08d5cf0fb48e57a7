"""What other libraries call: one file each, which imports the front door and that one library."""

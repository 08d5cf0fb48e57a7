"""A chunk store on one disk, served to peers and used from afar."""

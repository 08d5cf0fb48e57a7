"""What a person decides: the one YAML file, with a default for every key, and where on this machine things lie."""

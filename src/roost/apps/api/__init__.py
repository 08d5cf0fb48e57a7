"""The coordinator's HTTP: what programs, pages and monitoring ask, on the services of the coordinator itself."""

"""The dashboards as code, a file each; what Grafana reads is made of it and lies in `json` beside them."""

"""What watches a cluster from outside: Prometheus, Alertmanager, Grafana and Loki, as files that run them."""

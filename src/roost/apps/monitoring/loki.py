"""The logs: Alloy reads the files that Roost writes, and Loki keeps their lines.

A line is JSON, as `observe/log.py` writes it. Its labels are few: `job` (roost), `instance` (whose log it is) and
`level`; all other fields stay in the line.
"""

from roost.apps.monitoring.plan import Plan

LOGS = "/var/log/roost"
"""Where Alloy finds the logs: a folder for each instance."""
_LOKI = """\
# Written by `roost monitoring export`, which writes it anew each time. Lines are kept for thirty days.
auth_enabled: false

server:
  http_listen_address: 127.0.0.1
  http_listen_port: {port}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc_port}
  log_level: warn

common:
  instance_addr: 127.0.0.1
  path_prefix: /loki
  replication_factor: 1
  ring:
    kvstore:
      store: inmemory
  storage:
    filesystem:
      chunks_directory: /loki/chunks
      rules_directory: /loki/rules

schema_config:
  configs:
    - from: 2024-04-01
      store: tsdb
      object_store: filesystem
      schema: v13
      index:
        prefix: index_
        period: 24h

limits_config:
  retention_period: 720h
  # Logs that are older than Loki itself are taken too.
  reject_old_samples: false

compactor:
  working_directory: /loki/compactor
  retention_enabled: true
  delete_request_store: filesystem

analytics:
  reporting_enabled: false
"""
_ALLOY = """\
// Written by `roost monitoring export`, which writes it anew each time.

// Roost's log files; a file that grows too long is set aside as NAME.jsonl.1, and a new one begun.
local.file_match "roost" {
  path_targets = [{"__path__" = "@LOGS@/*/*.jsonl", "job" = "roost"}]
}

// The folder says whose log it is.
discovery.relabel "roost" {
  targets = local.file_match.roost.targets

  rule {
    source_labels = ["__path__"]
    regex         = "@LOGS@/([^/]+)/.*"
    target_label  = "instance"
  }
}

loki.source.file "roost" {
  targets    = discovery.relabel.roost.output
  forward_to = [loki.process.roost.receiver]
}

loki.process "roost" {
  forward_to = [loki.write.roost.receiver]

  stage.json {
    expressions = {at = "", level = ""}
  }

  stage.timestamp {
    source = "at"
    format = "RFC3339Nano"
  }

  stage.labels {
    values = {level = ""}
  }
}

loki.write "roost" {
  endpoint {
    url = "@LOKI@/loki/api/v1/push"
  }
}
"""


def loki_text(plan: Plan) -> str:
    """The settings of Loki."""
    return _LOKI.format(port=plan.ports["loki"], grpc_port=plan.ports["loki"] + 1)


def alloy_text(plan: Plan) -> str:
    """The settings of Alloy, in its own language."""
    return _ALLOY.replace("@LOGS@", LOGS).replace("@LOKI@", plan.url("loki"))

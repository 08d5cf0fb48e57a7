"""The reference page of the settings, from the one table of keys in the code."""

import msgspec

from roost.settings import schema
from roost.settings.schema import KEYS, Items, Key

ABOUT = {
    "cluster": "The name that other machines see when they look for clusters.",
    "redundancy": "How many copies of each checkpoint are made, one a machine: `2` survives the loss of any one, `3` "
    "of any two. It holds for what is stored from then on.",
    "chunk_size": "No chunk is larger than this.",
    "compression": "`auto` compresses what shrinks, `off` nothing.",
    "watch": "Folders whose finished checkpoints are stored by themselves while `roost start` runs. `path` is relative "
    "to the settings file; `name` is the prefix of the stored names.",
    "retention.undelete": "For how long `roost undelete` brings back what `roost rm` removed. It counts the nodes' "
    "running time.",
    "local_nodes": "How many nodes `roost start` runs on this machine, beside the coordinator.",
    "node.listen": "Where a node, and the coordinator's own member service, are reached. Port 0 takes a free one.",
    "node.reserve": "So much of the disk stays free.",
    "node.capacity": "What counts as the disk's size when it is decided how much a node gets; 0 is the whole disk.",
    "api.listen": "Where the coordinator's page, API and metrics are. Any address but loopback asks for a token.",
    "discovery.mdns": "Find other machines, and be found, by mDNS.",
    "discovery.broadcast": "The same by UDP broadcast.",
    "discovery.peers": "Addresses to try besides those that are remembered.",
    "repair.grace": "For how long a machine may be down before its copies are made again elsewhere. "
    "Damage never waits.",
    "repair.rate": "At most so much is copied by repair.",
    "scrub.every": "Within this time each node reads back everything that it holds; 0 is never.",
    "scrub.rate": "At most so much is read back by a scrub.",
    "alerts.email.smtp": "Where alerts are mailed: `HOST:PORT` or `smtp://USER@HOST:587` (STARTTLS), "
    "`smtps://USER@HOST:465` (TLS). The password is in `$ROOST_HOME/smtp-password`, or in `ROOST_SMTP_PASSWORD`.",
    "alerts.email.from": "From whom the mail is; it may be left out where the user is an address.",
    "alerts.email.to": "Who is mailed.",
    "alerts.webhook.url": "Where alerts are posted. `{secret}` is what is in `$ROOST_HOME/webhook-secret`, or in "
    "`ROOST_WEBHOOK_SECRET`.",
    "alerts.webhook.template": "What is posted: `ntfy`, `slack`, `discord`, or text or JSON with words in braces, such "
    "as `{title}`.",
    "alerts.webhook.headers": "Headers of each post, such as `Authorization: Bearer {secret}`.",
    "alerts.node_down": "How long a machine, or the coordinator, may be gone before that is told.",
    "alerts.backup_age": "How long nothing may be stored before that is told; 0 is never.",
    "alerts.hot": "At how many degrees Celsius a machine is called hot.",
    "alerts.slow": "Stores and gathers at less are called slow; 0 is never.",
    "alerts.every": "How often it is looked.",
    "alerts.repeat": "How often what lasts is told again; 0 is once.",
}
"""What each key does. A key that is not here is described by its section."""

HEAD = """\
# Settings

One YAML file, `roost.yaml`: the one named by `--config`, else `./roost.yaml`, else `$ROOST_HOME/roost.yaml`. Every key
may be left out. An unknown key is an error that names the nearest known one. `roost config show --origin` prints what
is in force and where each value is from.

| key | default | may be | does |
|---|---|---|---|"""

TAIL = """
Sizes are whole numbers of bytes, or like `8MiB`; rates like `20MiB/s`; durations like `10m` or `7d`. A key with a dot
is written in its section, as in `repair: {grace: 10m}`. What is marked *not built yet* is refused unless it is at its
default.

`ROOST_HOME` (or `--home DIR` on every command) is where identity, chunks, catalogue and logs are; its default is the
system's place for the data of programs. `ROOST_TOKEN` holds a join token for a service, `NO_COLOR` turns colours off,
and `ROOST_DEBUG=1` shows the traceback of an error."""


def page() -> str:
    """Each key: its default, what it may be, and what it does."""
    return "\n".join([HEAD, *(_row(key) for key in KEYS), TAIL])


def _row(key: Key) -> str:
    default = "empty" if isinstance(key.kind, Items) or key.default == "" else f"`{key.default}`"
    told = ABOUT.get(key.path, "") if key.built else "Not built yet."
    return f"| `{key.path}` | {default} | {key.kind.expects} | {told or section(key.path)} |".replace("\n", " ")


def section(path: str) -> str:
    """What the struct says that holds the key, which is all that is known of a key that `ABOUT` does not name. KeyError
    for a key of no section: that needs its line in `ABOUT`."""
    kind: type = schema.Settings
    for name in path.split(".")[:-1]:
        kind = {part.encode_name: part.type for part in msgspec.structs.fields(kind)}[name]
    if kind is schema.Settings:
        raise KeyError(f"say in scripts/reference_settings.py what the setting {path} does")
    return " ".join((kind.__doc__ or "").replace("``", "`").split())

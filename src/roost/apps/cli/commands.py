"""The table of commands: their names, what they do in a line, and where they are, so that help loads none of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the function `function` of the module `module` beside this one."""

    summary: str
    module: str
    function: str

    def load(self, name: str) -> Any:
        """Import the module and make the command that Typer runs."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(name, short_help=self.summary)(
            getattr(import_module(f"roost.apps.cli.{self.module}"), self.function)
        )
        return typer.main.get_command(app)


@dataclass(frozen=True, slots=True)
class Family:
    """A word that several commands share, such as ``token`` of ``token create``; `alone` is what it does by itself."""

    summary: str
    members: Mapping[str, Command]
    alone: Command | None = None

    def load(self, name: str) -> Any:
        """The group that Typer runs; its members are loaded when they are called."""
        if self.alone is None:
            summary = f"{self.summary[0].upper()}{self.summary[1:]}."
            return LazyGroup(name=name, help=summary, rich_markup_mode=None).offering(self.members)
        app = typer.Typer(
            name=name, cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        app.callback(invoke_without_command=True)(
            getattr(import_module(f"roost.apps.cli.{self.alone.module}"), self.alone.function)
        )
        group = typer.main.get_command(app)
        assert isinstance(group, LazyGroup)
        return group.offering(self.members)


COMMANDS: Mapping[str, Command | Family] = {
    "start": Command("run the coordinator here, and nodes with it", "start", "start"),
    "join": Command("make this machine a node of a cluster, and run it", "join", "join"),
    "token": Family(
        "let other machines join",
        {
            "create": Command("print a word that lets machines join", "token", "create"),
            "revoke": Command("end all tokens", "token", "revoke"),
        },
    ),
    "service": Family(
        "run the node or coordinator from every boot on",
        {
            "install": Command("let systemd or launchd run it", "service", "install"),
            "uninstall": Command("stop it, and remove the service", "service", "uninstall"),
            "status": Command("whether it is installed and runs", "service", "status"),
            "logs": Command("what it said last", "service", "logs"),
        },
    ),
    "recover": Command("become able to admit machines, with the recovery code", "recover", "recover"),
    "store": Command("store a checkpoint: a file or a folder", "store", "store"),
    "watch": Command("store what is finished in a folder, by itself", "watch", "watch"),
    "gather": Command("bring a checkpoint back, verified", "gather", "gather"),
    "ls": Command("what is stored", "ls", "ls"),
    "show": Command("one checkpoint: its files, and where each copy is", "show", "show"),
    "verify": Command("check that every copy is there", "verify", "verify"),
    "repair": Command("make missing copies again, now", "repair", "repair"),
    "scrub": Command("read everything back now, and mend what is damaged", "scrub", "scrub"),
    "rm": Command("forget a checkpoint", "rm", "rm"),
    "undelete": Command("bring a removed version back", "undelete", "undelete"),
    "export": Command("write checkpoints out as plain files, verified", "export", "export"),
    "import": Command("store what lies in a folder or at a URL", "import_", "import_"),
    "nodes": Family(
        "who is in the cluster; empty a node, or strike it off",
        {
            "drain": Command("copy what a node keeps to others, and let it leave", "nodes", "drain"),
            "forget": Command("strike a dead node off", "nodes", "forget"),
        },
        alone=Command("who is in the cluster", "nodes", "nodes"),
    ),
    "discover": Command("the clusters and nodes in sight", "discover", "discover"),
    "doctor": Command("what is wrong here, and what mends it", "doctor", "doctor"),
    "status": Command("how the cluster is, at one look", "status", "status"),
    "alerts": Family(
        "who is told when something is wrong",
        {"test": Command("send a message each way", "alerts", "trial")},
        alone=Command("what fires, and every rule", "alerts", "alerts"),
    ),
    "monitoring": Family(
        "watch a cluster with Prometheus, Alertmanager, Grafana and Loki",
        {"export": Command("write what watches this cluster into a folder", "monitoring", "export")},
    ),
    "top": Command("watch the cluster in this terminal", "top", "top"),
    "config": Family("the settings", {"show": Command("print the settings in force", "config", "show")}),
    "demo": Command("see it work in a minute", "demo", "demo"),
    "bench": Family(
        "measure it here",
        {"repair": Command("measure repair and scrub", "bench_repair", "repair")},
        alone=Command("measure it here: store and gather", "bench", "bench"),
    ),
}
"""Every command, in the order in which help shows them."""


class _Offered(Mapping[str, Any]):
    """The commands by name, each loaded when it is looked at."""

    def __init__(self, table: Mapping[str, Command | Family]) -> None:
        self.table = table

    def __getitem__(self, name: str) -> Any:
        return self.table[name].load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


class LazyGroup(TyperGroup):
    """A group whose help comes from a table, and which imports a command only to run it or to print its own help."""

    def offering(self, table: Mapping[str, Command | Family]) -> "LazyGroup":
        """This group, with the commands of `table`."""
        self.commands: Any = _Offered(table)
        return self

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table, not the commands' own first lines, which would have to be imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.commands.table.items()])

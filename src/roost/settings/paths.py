"""Where Roost keeps its things on this machine: the home and every place below it, named once."""

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "ROOST_HOME"
SETTINGS_FILE = "roost.yaml"
LOCAL_NODES_MAX = 64


@dataclass(frozen=True, slots=True)
class Home:
    """One home: that of a coordinator or client, or of one node. `root` is absolute and need not exist yet."""

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> "Home":
        """The home to use: `given` (``--home``), else ``$ROOST_HOME``, else this user's data directory."""
        chosen = given or os.environ.get(VARIABLE)
        if chosen:
            return cls(Path(os.path.abspath(os.path.expanduser(chosen))))
        import platformdirs

        return cls(platformdirs.user_data_path("roost", appauthor=False))

    @property
    def identity(self) -> Path:
        """Key, certificate, the authority's certificate, and the machine id."""
        return self.root / "identity"

    @property
    def authority(self) -> Path:
        """The authority's key; only where `roost start` made the cluster."""
        return self.root / "authority"

    @property
    def chunks(self) -> Path:
        return self.root / "chunks"

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def quarantine(self) -> Path:
        """Objects whose bytes are not what their names say."""
        return self.root / "quarantine"

    @property
    def catalogue(self) -> Path:
        """The coordinator's SQLite cache of what is stored; may be deleted at any time."""
        return self.root / "catalogue.sqlite3"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def peers(self) -> Path:
        """Addresses at which members were last reached."""
        return self.root / "peers.json"

    @property
    def tokens(self) -> Path:
        """Join tokens that are valid now, by hash; only on the coordinator."""
        return self.root / "tokens.json"

    @property
    def settings(self) -> Path:
        """The settings file that is read when neither ``--config`` nor the working directory has one."""
        return self.root / SETTINGS_FILE

    @property
    def lock(self) -> Path:
        """Locked for as long as a process serves this home."""
        return self.root / "lock"

    @property
    def run_state(self) -> Path:
        """What the process that serves this home says of itself: process id, address."""
        return self.root / "run.json"

    @property
    def watched(self) -> Path:
        """What of each watched folder was stored already; may be deleted at any time."""
        return self.root / "watched"

    @property
    def backups(self) -> Path:
        """Notes of backups of this machine's programs that failed or wait; may be deleted at any time."""
        return self.root / "backups"

    @property
    def api_token(self) -> Path:
        """What must be shown to the API when it does not listen on loopback; made by the coordinator."""
        return self.root / "api-token"

    @property
    def smtp_password(self) -> Path:
        """The password that the mail server asks for; written by a person."""
        return self.root / "smtp-password"

    @property
    def webhook_secret(self) -> Path:
        """What stands for ``{secret}`` in the webhook of the alerts; written by a person."""
        return self.root / "webhook-secret"

    @property
    def alerts(self) -> Path:
        """Which alerts fire, and who was told; may be deleted at any time, which tells all again."""
        return self.root / "alerts.json"

    @property
    def nodes(self) -> Path:
        """The homes of the local nodes."""
        return self.root / "nodes"

    def node(self, number: int) -> "Home":
        """The home of local node `number`, from 1 on."""
        if not 1 <= number <= LOCAL_NODES_MAX:
            raise ValueError(f"no local node has the number {number}")
        return Home(self.nodes / str(number))

    def relative(self, path: Path) -> str:
        """A place below this home as `roost.disk` names it; ValueError when it is not below."""
        return path.relative_to(self.root).as_posix()

"""Keys and codes: for their owner alone, and never in what is printed, logged or kept."""

import base64
import stat
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import trees
from e2e.cluster import Cluster
from security.harm import serves_honest_clients

PRIVATE = 0o600


def spellings(pem: bytes) -> set[bytes]:
    """How a key could be found somewhere: as it is, in hex, in base64."""
    key = load_pem_private_key(pem, None)
    raw = key.private_bytes_raw()  # type: ignore[union-attr]
    lines = {line for line in pem.splitlines() if b"-----" not in line}
    return {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), *lines}


def test_keys_are_for_their_owner_and_neither_keys_nor_codes_are_printed_or_logged(tmp_path: Path) -> None:
    """A whole life: start, join by code and by token, store, gather, a wrong code, stop."""
    with Cluster(tmp_path / "cluster") as cluster:
        coordinator = cluster.start(local=1)
        codes = [line for line in coordinator.lines if line.get("event") == "join-code"]
        code = (codes[0] if codes else coordinator.until("join-code"))["join_code"]
        invitation = next(line for line in coordinator.lines if line.get("event") == "invitation")["token"]
        recovery = next(line["recovery_code"] for line in coordinator.lines if "recovery_code" in line)
        token = cluster.done("token", "create")["token"]
        cluster.join(token, "n")
        at = next(line["address"] for line in coordinator.lines if line.get("event") == "listening")
        cluster.done("join", code, "--at", at, "--client", home=cluster.root / "client")
        assert cluster.cli("join", recovery, "--at", at, "--client", home=cluster.root / "odd").code == 2
        serves_honest_clients(cluster, trees.write(tmp_path / "a.bin", trees.noise(100_000, seed=1)), "secrets/a")
        assert cluster.stop().code == 0

        keys = sorted(cluster.root.rglob("key.pem"))
        assert {path.parent.name for path in keys} == {"identity", "authority"}
        assert len(keys) >= 5
        assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {PRIVATE}
        secrets = {spelled for path in keys for spelled in spellings(path.read_bytes())}
        words = {code, code.replace("-", ""), token, invitation, recovery, recovery.replace("-", "")}

        files = [path for path in cluster.root.rglob("*") if path.is_file()]
        assert any(path.suffix == ".jsonl" for path in files), "there are logs"
        for path in files:
            data = path.read_bytes()
            told = [word for word in words if word.encode() in data]
            told += ["a key" for secret in secrets if secret in data and path.name != "key.pem"]
            assert not told, f"{path} holds {told}"
        for program in cluster._programs:
            printed = repr(program.lines).encode() + program.errors().encode()
            assert not [secret for secret in secrets if secret in printed]

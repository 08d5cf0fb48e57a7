"""From a settings file to settings: defaults, every kind of value, and every kind of mistake."""

import contextlib
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address
from roost.core.errors import Failed, NotFound, UsageError
from roost.settings.load import find_file, load, parse
from roost.settings.paths import Home
from roost.settings.schema import KEYS, Discovery, Settings, WatchFolder, default_settings

FILE = Path("/etc/somewhere/roost.yaml")

# The example of interfaces.md at its defaults, but for the keys that name something of one's own.
EVERY_KEY = """\
cluster: home                # shown in discovery
redundancy: "2"
chunk_size: 8MiB
compression: auto
watch:
  - {path: ./checkpoints, name: ""}
retention: {keep_last: 0, keep_every: 0, undelete: 7d}
limit: {up: 0, down: 0}
local_nodes: 4
node: {listen: "0.0.0.0:7400", reserve: 1GiB, capacity: 0}
api: {listen: "127.0.0.1:7480"}
discovery: {mdns: true, broadcast: true, peers: []}
repair: {grace: 10m, rate: 20MiB/s}
scrub: {every: 30d, rate: 10MiB/s}
alerts:
  email: {smtp: "", from: "", to: []}
  webhook: {url: "", template: "", headers: []}
  node_down: 5m
  backup_age: 7d
  hot: 85
  slow: 1MiB/s
  every: 30s
  repeat: 1d
"""


def settings_of(text: str) -> Settings:
    return parse(text, file=FILE).settings


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text, file=FILE)
    assert caught.value.hint
    return caught.value


def test_every_key_has_its_default() -> None:
    settings = default_settings()
    assert settings == settings_of("") == settings_of("# nothing but words\n") == settings_of("node:\nwatch:\n")
    assert (settings.cluster, settings.redundancy, settings.compression) == ("home", Redundancy.parse("2"), "auto")
    assert (settings.chunk_size, settings.local_nodes, settings.watch) == (8 << 20, 0, ())
    assert settings.node.listen == Address("0.0.0.0", 7400)
    assert (settings.node.reserve, settings.node.capacity) == (1 << 30, 0)
    assert (settings.retention.undelete_s, settings.repair.grace_s, settings.scrub.every_s) == (604800, 600, 2592000)
    assert (settings.repair.rate, settings.scrub.rate, settings.limit.up) == (20 << 20, 10 << 20, 0)
    assert settings.discovery.mdns
    assert settings.alerts.email.recipients == ()


def test_the_whole_example_is_taken() -> None:
    settings = settings_of(EVERY_KEY)
    assert settings.local_nodes == 4
    assert settings.watch == (WatchFolder(path="/etc/somewhere/checkpoints", name=""),)
    defaults = default_settings()
    assert msgspec.structs.replace(settings, watch=(), local_nodes=0) == defaults


def test_the_example_names_every_key_of_the_table() -> None:
    origins = {value.path: value.origin for value in parse(EVERY_KEY, file=FILE).effective}
    assert [path for path, origin in origins.items() if origin == "default"] == []


def test_the_table_and_the_structs_agree() -> None:
    def paths(kind: type[msgspec.Struct], prefix: str) -> list[str]:
        found: list[str] = []
        for part in msgspec.structs.fields(kind):
            nested = isinstance(part.type, type) and issubclass(part.type, msgspec.Struct)
            path = prefix + part.encode_name
            found += paths(part.type, f"{path}.") if nested else [path]
        return found

    assert sorted(paths(Settings, "")) == sorted(key.path for key in KEYS)


def test_values_of_one_s_own() -> None:
    settings = settings_of(
        "cluster: dachboden\nredundancy: 3\nchunk_size: 1048576\ncompression: off\nlocal_nodes: 64\n"
        "node: {listen: '[::1]:0', reserve: 0, capacity: 2TiB}\n"
        "discovery:\n  peers:\n  - 192.168.1.20:7400\n  - pi.lan:7401\n"
    )
    assert (settings.cluster, settings.redundancy.copies, settings.chunk_size) == ("dachboden", 3, 1 << 20)
    assert (settings.compression, settings.local_nodes) == ("off", 64)
    assert (settings.node.listen, settings.node.capacity) == (Address("::1", 0), 2 << 40)
    assert settings.discovery.peers == (Address("192.168.1.20", 7400), Address("pi.lan", 7401))


def test_each_value_says_where_it_comes_from() -> None:
    text = "local_nodes: 4\nnode:\n  reserve: 2048KiB\nwatch:\n- path: /data\n  name: runs/a\ncompression: 'off'\n"
    effective = {value.path: (value.text, value.origin) for value in parse(text, file=FILE).effective}
    assert [value.path for value in parse(text, file=FILE).effective] == [key.path for key in KEYS]
    assert effective["local_nodes"] == ("4", f"{FILE}:1")
    assert effective["node.reserve"] == ("2MiB", f"{FILE}:3")
    assert effective["watch"] == ('[{path: "/data", name: "runs/a"}]', f"{FILE}:5")
    assert effective["compression"] == ("off", f"{FILE}:7")
    assert effective["node.listen"] == ("0.0.0.0:7400", "default")
    assert effective["alerts.email.smtp"] == ('""', "default")
    assert effective["discovery.mdns"] == ("true", "default")


def test_folders_are_relative_to_the_file() -> None:
    settings = settings_of("watch: [{path: ../runs}, {path: /abs}, {path: ~/here}]")
    assert [folder.path for folder in settings.watch] == ["/etc/runs", "/abs", str(Path("~/here").expanduser())]


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        ("chunksize: 1MiB", "chunksize", "chunk_size"),
        ("node: {lissten: x}", "node.lissten", "node.listen"),
        ("repair:\n  grase: 1m", "repair.grase", "repair.grace"),
        ("local_node: 1", "local_node", "local_nodes"),
        ("reserve: 1GiB", "reserve", "node.reserve"),
        ("node.listen: 'a:1'", "node.listen", "write listen: below node:"),
        ("alerts: {email: {form: a}}", "alerts.email.form", "alerts.email.from"),
        ("watch: [{pth: a}]", "watch[0].pth", "watch[0].path"),
        ("node: {node.listen: x}", "node.node.listen", "node.listen"),
        ("<<: {cluster: x}", "<<", ""),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(text: str, unknown: str, nearest: str) -> None:
    error = refusal(text)
    assert error.message == f"{FILE}:{2 if '  ' in text else 1}: unknown key {unknown}"
    assert nearest in error.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local_nodes: many", "local_nodes: not a whole number from 0 to 64: 'many'"),
        ("local_nodes: 65", "local_nodes: not a whole number from 0 to 64: '65'"),
        ("local_nodes: -1", "local_nodes: not"),
        ("local_nodes: 1.5", "local_nodes: not"),
        ("local_nodes: [1]", "local_nodes: expected a whole number from 0 to 64, found a list"),
        ("local_nodes:", "local_nodes: expected a whole number from 0 to 64, found nothing"),
        ("cluster: {a: b}", "cluster: expected a text, found keys and values"),
        ("cluster: ''", "cluster: not a cluster's name"),
        (f"cluster: {'x' * 64}", "cluster: not a cluster's name"),
        ('cluster: "a\\nb"', "cluster: not a cluster's name"),
        ("node: 7400", "node: expected keys and values, found '7400'"),
        ("- cluster", "the file: expected keys and values, found a list"),
        ("just words", "the file: expected keys and values"),
        ("node: {listen: 7400}", "node.listen: not an address: '7400'"),
        ("node: {listen: 'a:70000'}", "node.listen: not an address"),
        ("node: {reserve: lots}", "node.reserve: not a size: 'lots'"),
        ("redundancy: 2+1", "redundancy: redundancy '2+1': parity (k+m) is not built yet"),
        ("redundancy: 1", "redundancy: redundancy '1' is not known"),
        ("chunk_size: 63KiB", "chunk_size: '63KiB' is out of range"),
        ("chunk_size: 9MiB", "chunk_size: '9MiB' is out of range"),
        ("compression: zstd", "compression: not one of auto, off: 'zstd'"),
        ("discovery: {mdns: maybe}", "discovery.mdns: neither true nor false: 'maybe'"),
        ("discovery: {peers: here}", "discovery.peers: expected a list of HOST:PORT, found 'here'"),
        ("discovery: {peers: ['a:1', b]}", "discovery.peers[1]: not an address: 'b'"),
        ("watch: ./here", "watch: expected a list"),
        ("watch: [./here]", "watch[0]: expected keys and values, found './here'"),
        ("watch: [{name: a}]", "watch[0].path is missing"),
        ("watch: [{path: a, name: ../b}]", "watch[0].name: not a checkpoint name"),
        ("watch: [{path: ''}]", "watch[0].path: not a folder"),
        ("repair: {grace: soon}", "repair.grace: not a duration: 'soon'"),
        ("cluster: a\ncluster: b", "cluster is given twice"),
        ("? [a]\n: b", "a key must be one word"),
        ("cluster: [", "not YAML"),
        ("a: b\n---\nc: d", "not YAML"),
        ("\t- x: {", "not YAML"),
        ("cluster: *none", "not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str) -> None:
    error = refusal(text)
    assert said in error.message
    assert re.match(rf"{FILE}:[0-9]+: ", error.message)


def test_the_line_is_the_right_one() -> None:
    assert refusal("cluster: a\n\nnode:\n  reserve: 1\n  listen: b\n").message.startswith(f"{FILE}:5: node.listen")


@pytest.mark.parametrize(
    "text",
    [
        "retention: {keep_last: 3}",
        "retention: {keep_every: 1000}",
        "limit: {up: 1MiB}",
        "limit: {down: 1}",
    ],
)
def test_what_is_not_built_is_refused(text: str) -> None:
    assert "not built yet" in refusal(text).message


def test_what_is_not_built_is_taken_at_its_default_however_written() -> None:
    assert settings_of("retention: {keep_last: 0}\nlimit: {up: 0KiB}\napi: {listen: '127.0.0.1:7480'}") == (
        default_settings()
    )


def test_each_way_of_discovery_can_be_switched_off() -> None:
    assert settings_of("discovery: {mdns: off}").discovery == Discovery(mdns=False, broadcast=True, peers=())
    assert settings_of("discovery: {broadcast: no}").discovery == Discovery(mdns=True, broadcast=False, peers=())


def test_aliases_that_explode_or_bite_their_tail_do_no_harm() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 8)}]\n" for i in range(20)
    )
    assert "unknown key a" in refusal(bomb).message
    assert refusal("watch: &w [*w]").message
    assert refusal("node: &n {listen: *n}").message
    assert refusal("[" * 100_000).message


def test_the_first_file_found_is_read(tmp_path: Path) -> None:
    home, here = Home(tmp_path / "home"), tmp_path / "here"
    home.root.mkdir()
    here.mkdir()
    assert find_file(home=home, working_directory=here) is None
    assert load(home=home, working_directory=here).file is None

    home.settings.write_text("cluster: from-home")
    assert load(home=home, working_directory=here).settings.cluster == "from-home"
    (here / "roost.yaml").write_text("cluster: from-here")
    assert load(home=home, working_directory=here).settings.cluster == "from-here"
    (tmp_path / "other.yaml").write_text("cluster: from-option")
    loaded = load("../other.yaml", home=home, working_directory=here)
    assert (loaded.settings.cluster, loaded.file) == ("from-option", tmp_path / "other.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(NotFound, match="absent"):
        load(tmp_path / "absent.yaml", home=home)
    with pytest.raises(Failed, match="cannot read"):
        load(tmp_path, home=home)
    (tmp_path / "latin.yaml").write_bytes(b"cluster: \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", home=home)
    (tmp_path / "long.yaml").write_bytes(b"# \n" * 400_000)
    with pytest.raises(UsageError, match="1 MiB"):
        load(tmp_path / "long.yaml", home=home)


def test_a_byte_order_mark_is_forgiven(tmp_path: Path) -> None:
    (tmp_path / "roost.yaml").write_bytes(b"\xef\xbb\xbfcluster: x\r\n")
    assert load(home=Home(tmp_path), working_directory=tmp_path).settings.cluster == "x"


_SCALARS = st.text(max_size=12) | st.sampled_from(["8MiB", "2", "true", "0.0.0.0:1", "~", "[]", "9" * 5000])
_NAMES = st.sampled_from([*(key.path.split(".")[0] for key in KEYS), "listen", "peers", "path", "email"])


@given(
    st.text(max_size=60)
    | st.recursive(
        _SCALARS.map(lambda text: msgspec.json.encode(text).decode()) | _SCALARS,
        lambda inner: (
            st.dictionaries(_NAMES, inner, max_size=3).map(
                lambda entries: "{" + ", ".join(f"{name}: {value}" for name, value in entries.items()) + "}"
            )
            | st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        ),
        max_leaves=6,
    )
)
def test_any_text_is_settings_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse(text, file=FILE).file == FILE

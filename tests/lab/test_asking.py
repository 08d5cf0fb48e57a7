"""Two people at two terminals: one reads the code, the other finds the cluster and types it."""

import re

from lab.conftest import MakeLab

DOWN = "\x1bOB"
CODE = re.compile(r"JOIN CODE +([0-9A-Z]{4}-[0-9A-Z]{4})")


def test_join_with_nothing_else_finds_the_cluster_asks_for_the_code_and_runs(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    starting = lab.sit_at("m1", "start", "-n", 1)
    first = starting.until("then another is shown")
    [code] = CODE.findall(first)
    assert "made the cluster 'test'" in first
    assert re.search(r"RECOVERY CODE +([0-9A-Z]{5}-){4}[0-9A-Z]{2}", first)
    assert "\N{FULL BLOCK}" in first, "the QR code"
    joining = lab.sit_at("m2", "join", "--name", "m2")
    assert "found the cluster test" in joining.until("join code")
    joining.type("K7Q4-XMRX\n")
    assert "mistyped" in joining.until("join code (")
    joining.type(f"{code.lower()}\n")
    joining.until("m2 keeps chunks at")
    starting.until("m2 is in")
    starting.until("ready: 1 node")
    assert joining.interrupt() == 0
    again = lab.sit_at("m2", "join")
    again.until("m2 keeps chunks at")
    assert again.interrupt() == 0
    assert starting.interrupt() == 0
    for log in lab.root.glob("*/home/logs/*"):
        assert code not in log.read_text(errors="replace")


def test_of_several_clusters_one_is_picked_with_the_arrows_and_a_wrong_code_shows_another(make_lab: MakeLab) -> None:
    lab = make_lab(3)
    lab.config("m3", cluster="attic")
    _, attic = lab.start("m3")
    starting = lab.sit_at("m1", "start")
    [code] = CODE.findall(starting.until("then another is shown"))
    joining = lab.sit_at("m2", "join", "--name", "m2", "--client")
    shown = joining.until("test (")
    if shown.find("attic (") < shown.find("test ("):
        joining.type(DOWN)
        joining.until("test (")
    joining.type("\r")
    joining.until("join code (")
    joining.type(f"{attic}\n")
    assert "not the join code that is shown now" in joining.until("hint:")
    shown = starting.until("then another is shown")
    assert "a wrong join code was tried from 10.77.0.12" in shown
    [fresh] = CODE.findall(shown)
    assert fresh not in (code, attic)


def test_ctrl_c_at_the_question_ends_it_and_leaves_nothing(make_lab: MakeLab) -> None:
    lab = make_lab(2)
    lab.start("m1")
    joining = lab.sit_at("m2", "join")
    joining.until("join code (")
    assert joining.interrupt() == 130
    assert not (lab.home("m2") / "identity").exists()


def test_without_a_terminal_the_clusters_are_numbered_and_the_answers_are_read_line_by_line(make_lab: MakeLab) -> None:
    lab = make_lab(4)
    lab.config("m3", cluster="attic")
    lab.start("m3")
    _, code = lab.start("m1")
    lab.begin("m4", "join", code, "--cluster", "test").until("listening")
    clusters = [cluster["name"] for cluster in lab.done("m2", "discover")["clusters"]]
    assert sorted(clusters) == ["attic", "test"]
    done = lab.told("m2", f"9\n{clusters.index('test') + 1}\n{code}\n", "join", "--client", "--name", "m2")
    assert done.returncode == 0, done.stderr
    assert re.search(r"1  \w+ \(.*\n  2  \w+ \(", done.stderr)
    assert "type a number from 1 to 2" in done.stderr
    assert [row["name"] for row in lab.done("m1", "status")["others"] if row["name"] == "m2"] == ["m2"]
    assert lab.told("m2", "", "ls").returncode == 0

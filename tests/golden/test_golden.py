"""Golden records: every format ever written stays readable, and every damage is told apart.

`record_*.bin` are good records; `records.sha256` holds their ids (``sha256sum -c records.sha256`` agrees).
`broken/record_*.bin` are damaged ones; `broken/records.txt` says how reading each must fail. ``pytest tests/golden
--rewrite-golden`` writes those of the current format anew from `record_specimens`; files of older formats stay.
"""

from pathlib import Path

import pytest

from record_specimens import GOOD, broken
from roost.codec.records import decode_record, encode_record, record_id
from roost.core.errors import RoostError

HERE = Path(__file__).parent
BROKEN = HERE / "broken"
IDS = HERE / "records.sha256"
VERDICTS = BROKEN / "records.txt"


@pytest.fixture(scope="module", autouse=True)
def rewritten(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--rewrite-golden"):
        return
    for name, record in GOOD.items():
        (HERE / name).write_bytes(encode_record(record))
    names = sorted(path.name for path in HERE.glob("record_*.bin"))
    IDS.write_text("".join(f"{record_id((HERE / name).read_bytes()).hex()}  {name}\n" for name in names))
    for path in BROKEN.glob("record_*.bin"):
        path.unlink()
    for name, specimen in broken().items():
        (BROKEN / name).write_bytes(specimen.data)
    VERDICTS.write_text("".join(f"{name}\t{b.error.__name__}\t{b.says}\n" for name, b in sorted(broken().items())))


def expected_ids() -> dict[str, str]:
    rows = (line.split("  ") for line in IDS.read_text().splitlines())
    return {name: digest for digest, name in rows}


def test_every_golden_record_has_its_id_and_is_read_back_to_the_same_bytes() -> None:
    ids = expected_ids()
    assert set(ids) == {path.name for path in HERE.glob("record_*.bin")}
    for name, digest in ids.items():
        data = (HERE / name).read_bytes()
        assert record_id(data).hex() == digest, name
        assert encode_record(decode_record(data)) == data, name


def test_records_of_the_current_format_are_written_as_they_always_were() -> None:
    for name, record in GOOD.items():
        data = (HERE / name).read_bytes()
        assert encode_record(record) == data, name
        assert decode_record(data) == record, name


def test_every_broken_record_fails_for_its_own_reason() -> None:
    rows = [line.split("\t") for line in VERDICTS.read_text().splitlines()]
    assert {row[0] for row in rows} == {path.name for path in BROKEN.glob("record_*.bin")}
    for name, error, says in rows:
        with pytest.raises(RoostError) as raised:
            decode_record((BROKEN / name).read_bytes())
        assert type(raised.value).__name__ == error, name
        assert says.lower() in raised.value.message.lower(), name  # each release of msgspec has words of its own
        assert len(raised.value.message) < 500, name


def test_the_broken_specimens_are_what_they_are_made_from() -> None:
    for name, specimen in broken().items():
        assert (BROKEN / name).read_bytes() == specimen.data, name

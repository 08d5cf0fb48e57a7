"""The pictures of the page in `docs/images`, made anew with `--pictures docs/images`; of a real cluster, as people have
it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.conftest import Windows
from browser.window import DESK, PHONE
from e2e import trees
from e2e.cluster import Cluster

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="no playwright here: ./test.sh --all installs it").expect
pytestmark = pytest.mark.browser

BYTES_MAX = 250_000
SAMPLES_EACH = 2
"""So many samples of the charts are waited for after each store, ten seconds each."""
MACHINES = ("attic-pi", "desk", "gpu-box", "old-laptop")
COORDINATOR = """\
cluster: home
discovery: {mdns: false, broadcast: false}
node: {listen: "127.0.0.1:0"}
watch: [{path: ./out, name: gpt2}]
"""


@pytest.fixture
def cluster(pictures: Path) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="runs-")).resolve()
    try:
        with Cluster(folder / "home") as cluster:
            cluster.config.write_text(COORDINATOR)
            cluster.start(local=0)
            token = cluster.done("token", "create")["token"]
            cluster.join(token, *MACHINES)
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(cluster: Cluster, page: "Page") -> None:
    """Two runs, as fine-tuning leaves them: most of a step is as it was in the step before. The charts see each."""
    still = [trees.weights(2_000_000, seed=seed) for seed in range(6)]
    for run, steps in (("qwen-sft", 5), ("llama-dpo", 3)):
        for step in range(1, steps + 1):
            tensors = {f"layer.{index}.weight": ("BF16", data) for index, data in enumerate(still[: 3 + steps // 2])}
            tensors["head"] = ("BF16", trees.weights(3_000_000, seed=100 * steps + step))
            path = trees.write(cluster.root / f"{run}-{step}.safetensors", trees.safetensors(tensors))
            cluster.done("store", path, "--name", f"{run}/step-{step}000")
            for _ in range(SAMPLES_EACH):
                with page.expect_response("**/api/v1/series?*"):
                    pass
    whole = trees.model([400_000], seed=50)
    trees.write(cluster.root / "out/step-2000.safetensors", whole[: len(whole) // 2])
    trees.write(cluster.root / "out/step-1000.safetensors", whole)


def take(page: "Page", folder: Path, name: str) -> None:
    """A picture of the page, of the whole of it where it is large, in as many colours as it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=name.startswith("page"))
    image = pytest.importorskip("PIL.Image", reason="no pillow here: ./test.sh --all installs it")
    with image.open(path) as whole:
        whole.convert("RGB").quantize(256, method=image.Quantize.MAXCOVERAGE, dither=image.Dither.NONE).save(
            path, optimize=True
        )
    size = path.stat().st_size
    assert size < BYTES_MAX, f"{name}.png has {size} bytes"


def test_the_pictures_of_the_documentation(cluster: Cluster, windows: Windows, pictures: Path) -> None:
    window = windows(cluster)
    page = window.open()
    fill(cluster, page)
    cluster.done("verify", "--deep", timeout_s=120)
    expect(page.locator("#watching")).to_contain_text("step-2000.safetensors")
    for name, size, scheme in (
        ("page-light", DESK, "light"), ("page-dark", DESK, "dark"), ("healthy", DESK, "light"),
        ("phone", PHONE, "light"),
    ):  # fmt: skip
        page = window.open(size=size, scheme=scheme)
        expect(page.locator("h1")).to_contain_text("All is well")
        expect(page.locator("#space tbody tr")).not_to_have_count(0)
        if name.startswith("page"):
            page.get_by_role("button", name="Copies of qwen-sft/step-5000").click()
            expect(page.locator(".where .saved")).to_be_visible()
        take(page, pictures, name)
    cluster.nodes["old-laptop"].handle.kill()
    page = window.open()
    expect(page.locator("#doing")).to_contain_text("Waiting 10 min for old-laptop", timeout=90_000)
    take(page, pictures, "degraded")

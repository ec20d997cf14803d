"""The page of `flexopt watch --web` in a real browser: what it shows, and to whom it is of use."""

import os
import re
import shutil

import pytest
from PIL import Image
from proteinflex_optimization import CheckpointManager, DataHandler, ProgressTracker

HOSTILE = "<img src=x onerror='window.ran = 1'><script>window.ran = 1</script>"
TURNED = "gpj\u202e.exe"
RECORD_TOUCHED = """() => {
    window.touched = new Set();
    window.watcher = new MutationObserver((changes) => {
        for (const { target } of changes) {
            const node = target.closest ? target : target.parentElement;
            if (node.closest(".updated")) continue;  // How long ago that was may change in all.
            const row = node.closest("tr");
            window.touched.add(row?.querySelector("button")?.textContent ?? "rows");
        }
    });
    const all = { subtree: true, childList: true, characterData: true, attributes: true };
    window.watcher.observe(document.querySelector("#runs tbody"), all);
}"""
"""Notes which rows the page touches from now on."""


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, as a Linux distribution has it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def view(browser):
    """Open a page; at the end nothing may have gone wrong in it."""
    opened, wrong = [], []

    def view(url, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        page.locator("#live.good").wait_for()
        return page

    yield view
    for context in opened:
        context.close()
    assert [text for text in wrong if "ERR_CONNECTION" not in text] == []


def board(directory, *, fate="completed", name="Folding", message="docking"):
    with ProgressTracker(checkpoint_dir=directory) as tracker:
        task = tracker.start_task("fold", name, 40)
        part = tracker.start_task("dock", "Docking", 20, "fold")
        task.update(7, message)
        part.update(5)
        if fate == "completed":
            part.complete()
            task.complete()
        elif fate == "failed":
            part.fail(message)


@pytest.fixture
def runs(tmp_path):
    """Runs of each kind, with checkpoints and a cache."""
    place = tmp_path / "runs"
    board(place / "a")
    board(place / "b", fate="failed", message="no memory")
    board(place / "c", fate="stopped")
    board(place / "d")
    for file in (place / "d" / ".progress").iterdir():
        if file.is_file():
            file.write_bytes(b"other" * 2000)
    CheckpointManager(place / "a" / "checkpoints").create_checkpoint("step-1", {"model": {"x": 1}})
    DataHandler(place / "cache", max_cache_size=0.001).store_structure({"x": bytes(3000)}, "villin")
    return place


def row(page, name):
    return page.locator("tr.run").filter(has=page.get_by_role("button", name=name, exact=True))


def test_runs_appear_and_change_without_a_reload(tmp_path, serve_here, view, start_job):
    from playwright.sync_api import expect

    page = view(serve_here(tmp_path).url)
    assert page.evaluate("location.href.includes('token')") is False, "it may be shown to others"
    page.evaluate("window.mark = 1")
    page.get_by_text("No job has counted in or below").wait_for()
    job = start_job(tmp_path / "run")
    page.get_by_text("▶").wait_for()  # The tasks of a run that is alone are shown at once.
    assert page.locator("#runs .badge").inner_text() == "running"
    job.do("task.update(4, 'cooling')")
    page.locator("td.what", has_text="cooling").wait_for()
    assert "70.0 %" in row(page, "run").inner_text()
    # Tasks are asked for after the runs.
    bar = page.get_by_role("progressbar", name="Dynamics, done")
    expect(bar).to_have_js_property("value", 70, timeout=60_000)
    summary = page.locator("#summary")
    assert summary.get_attribute("aria-live") == "polite"
    assert summary.inner_text() == "1 run: 1 running"
    job.kill()
    page.locator("tr.run.stopped").get_by_text("no process is at work there").wait_for()
    assert summary.inner_text() == "1 run: 1 stopped"
    assert page.title().startswith("1 stopped, 70.0 %")
    assert page.evaluate("window.mark") == 1


def test_names_and_messages_of_others_are_text(tmp_path, serve_here, view):
    board(
        tmp_path / "runs" / "<script>window.ran = 1<", fate="failed", name=HOSTILE, message=HOSTILE
    )
    board(tmp_path / "runs" / TURNED, name="two\nlines\x1b[2J", message=TURNED)
    CheckpointManager(tmp_path / "runs" / "ck").create_checkpoint("a", {"<b>": {"x": 1}})
    board(os.fsdecode(os.fsencode(tmp_path / "runs") + b"/\xff\xfe"))
    page = view(serve_here(tmp_path / "runs").url)
    for button in page.locator("tr.run button").all():
        button.click()
    page.locator(".task .message").get_by_text(HOSTILE).first.wait_for()
    page.locator(".task .name").get_by_text(HOSTILE).first.wait_for()
    page.locator(".task .name").get_by_text(r"two lines\x1b[2J").wait_for()
    page.get_by_role("button", name=r"gpj\u202e.exe", exact=True).wait_for()
    page.get_by_role("button", name=r"\udcff\udcfe", exact=True).wait_for()
    page.locator("#checkpoints").get_by_text("<b>").wait_for()
    assert page.locator("script").count() == 1
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.ran") is None
    assert "\u202e" not in page.locator("body").inner_text()


def test_the_keyboard_opens_runs_and_keeps_its_place(runs, serve_here, view, start_job):
    job = start_job(runs / "e")
    page = view(serve_here(runs).url)
    page.get_by_role("button", name="e", exact=True).wait_for()

    def focused():
        return page.evaluate("document.activeElement.textContent")

    for _ in range(30):
        page.keyboard.press("Tab")
        if focused() == "e":
            break
    assert focused() == "e"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator(".task .name", has_text="Dynamics").wait_for()
    assert page.locator(":focus").get_attribute("aria-expanded") == "true"
    job.do("task.update(1, 'cooling')")
    page.locator("td.what", has_text="cooling").wait_for()
    assert focused() == "e"
    job.kill()  # Its row moves to another group.
    page.locator("tr.run.stopped", has_text="e").nth(1).wait_for()
    assert focused() == "e"
    page.keyboard.press("Space")
    assert page.locator(":focus").get_attribute("aria-expanded") == "false"
    page.get_by_role("button", name="failed1").focus()
    page.keyboard.press("Enter")
    assert row(page, "b").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(runs, serve_here, view, scheme, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    board(runs / ("long" * 40), fate="failed", name="N" * 200, message="M" * 300)
    page = view(serve_here(runs).url, color_scheme=scheme)
    for button in page.locator("tr.run button").all():
        button.click()
    page.locator("#caches progress").wait_for()
    page.locator(".task").nth(4).wait_for()
    assert page.locator("#checkpoints table").is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", background))) / 3
    assert brightness > 230 if scheme == "light" else brightness < 30
    for width in (1200, 360):
        page.set_viewport_size({"width": width, "height": 740})
        if width == (1200 if scheme == "light" else 360):  # A second each.
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            "w => [...document.querySelectorAll('main *')].filter((e) => !e.closest('.hidden') && "
            "e.getBoundingClientRect().right > w).map((e) => e.outerHTML.slice(0, 100))",
            width,
        )
        assert outside == []
    picture = tmp_path / "phone.png"
    page.screenshot(path=picture)
    assert len(Image.open(picture).convert("RGB").getcolors(1 << 24)) > 20


def test_of_a_thousand_runs_only_what_changed_is_touched(
    tmp_path, thousand_runs, serve_here, view, start_job
):
    job = start_job(tmp_path / "run")
    page = view(serve_here(thousand_runs, tmp_path, interval=1).url)
    assert (
        page.locator("#summary").inner_text() == "1,001 runs: 150 failed, 1 running, 850 completed"
    )
    assert page.locator("tr.run").count() == 101, "complete ones are folded, the rest asked for"
    page.get_by_role("button", name="Show 50 more").click()
    assert page.locator("tr.run").count() == 151
    page.evaluate(RECORD_TOUCHED)
    job.do("task.update(4, 'cooling')")
    page.locator("td.what", has_text="cooling").wait_for()
    touched = page.evaluate("window.watcher.disconnect(), [...window.touched]")
    assert touched == [str(tmp_path / "run")]
    page.get_by_role("searchbox").fill("bad 14")
    assert page.locator("tr.run").count() == 11, "bad 14 and bad 140 to 149"
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="completed850").click()
    page.get_by_role("button", name="Show 750 more").click()
    assert page.locator("tr.run").count() == 1001


def test_of_many_tasks_complete_ones_are_folded(tmp_path, serve_here, view):
    with ProgressTracker(checkpoint_dir=tmp_path) as tracker:
        for number in range(45):
            tracker.start_task(f"p{number}", f"Protein {number}", 1).complete()
        tracker.start_task("last", "The last", 2).fail("no memory")
    page = view(serve_here(tmp_path).url)
    page.get_by_role("button", name="Show 45 complete").wait_for()
    assert page.locator(".task .name").all_inner_texts() == ["The last"]
    page.get_by_role("button", name="Show 45 complete").click()
    assert page.locator(".task .name").count() == 46


def test_a_page_whose_command_has_ended_says_so(runs, serve_here, view):
    served = serve_here(runs)
    page = view(served.url)
    served.close()
    page.locator("#live.problem").get_by_text("Not connected since").wait_for()
    assert row(page, "b").is_visible(), "what was seen stays"

//! A flamegraph in a real browser: a frame is clicked and fills the width, a name is searched and its share told.

use memprof_tests::fixture::Fixture;
use memprof_tests::{command, tool};
use std::fs;
use std::process::Command;

/// Loads the flamegraph, clicks about in it, and writes down what it sees.
const PAGE: &str = r##"<!doctype html>
<meta charset="utf-8">
<object id="graph" type="image/svg+xml"></object>
<pre id="seen"></pre>
<script>
const graph = document.getElementById("graph");
const say = text => document.getElementById("seen").textContent += text + "\n";
function look() {
  const svg = graph.contentDocument;
  const frames = [...svg.querySelectorAll("#frames g")];
  const frame = name => frames.find(frame => frame.querySelector("title").textContent.startsWith(name + " "));
  const width = frame => parseFloat(frame.querySelector("rect").getAttribute("width"));
  const click = element => element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  const innermost = frame("known::innermost");
  say("before " + width(innermost));
  click(innermost);
  say("zoomed " + width(innermost));
  click(svg.getElementById("unzoom"));
  say("after " + width(innermost));
  svg.defaultView.prompt = () => "known::middle";
  click(svg.getElementById("search"));
  say(svg.getElementById("matched").textContent);
  say("title " + svg.getElementById("title").textContent);
}
graph.onload = () => { try { look(); } catch (error) { say("error " + error); } };
graph.data = "flamegraph.svg";
</script>
"##;

#[test]
fn a_flamegraph_zooms_and_searches() {
    if !tool::has("chromium", &["--version"], "the flamegraph in a browser") {
        return;
    }
    let fixture = Fixture::copy("known");
    fixture.memprof("test --lib --memprofilerate 1 three_deep").succeed();
    let folder = fixture.outside();
    let svg = fixture.summary().test("tests::three_deep").file("alloc_space");
    fs::copy(svg, folder.join("flamegraph.svg")).expect("the temporary folder can be written to");
    let page = folder.join("page.html");
    fs::write(&page, PAGE).expect("the temporary folder can be written to");
    let mut browser = Command::new("chromium");
    command::clean(&mut browser);
    // The sandbox refuses to work for root, as whom CI often runs. The budget is of the page's own time, not of ours.
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]);
    browser.args(["--virtual-time-budget=10000", "--dump-dom"]);
    browser.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    let output = browser.arg(format!("file://{}", page.display())).output().expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen = dom.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or_default();
    // 300 of 600 bytes, and 500 of them below `middle`.
    for text in ["before 50\n", "zoomed 100\n", "after 50\n", "Matched: 83.3%\n", "tests::three_deep\n"] {
        assert!(seen.contains(text), "{text:?} is not in {seen:?}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

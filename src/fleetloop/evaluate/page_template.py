"""The frame of the page: style, script and a skeleton with $-fields, all of it inline."""

from string import Template

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #16191d; --faint: #5b6470; --line: #dfe3e8;
  --accent: #0b6bcb; --good: #0a7a4b; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1216; --card: #171b21; --text: #e8ebef; --faint: #9aa4b1; --line: #2b323b;
    --accent: #6cb2ff; --good: #4cc38a; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 8px; }
h2 { font-size: 1.15rem; letter-spacing: -0.01em; margin: 0 0 4px; }
p { margin: 0; }
.loop { color: var(--faint); }
.loop b { color: var(--text); font-weight: 600; }
.notes { margin-top: 12px; color: var(--faint); max-width: 75ch; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 24px;
  margin-top: 24px;
}
section > p { color: var(--faint); font-size: 0.9rem; max-width: 80ch; }
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; font-size: 0.8rem; vertical-align: bottom; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child td { border-bottom: 0; }
.text { text-align: left; }
.interval { color: var(--faint); }
.passed { color: var(--good); font-weight: 600; }
.failed { color: var(--bad); font-weight: 600; }
ul.reasons { margin: 16px 0 0; padding: 0; list-style: none; font-size: 0.85rem; color: var(--faint); }
ul.reasons li { margin-top: 4px; }
.plot { height: 380px; margin-top: 8px; }
.clips {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 20px;
  margin-top: 16px;
}
figure { margin: 0; }
figure video, figure img { width: 100%; display: block; border-radius: 8px; background: #000; }
figcaption { margin-top: 8px; font-size: 0.9rem; }
figcaption span { display: block; color: var(--faint); font-size: 0.82rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""

SCRIPT = """
const darkness = matchMedia("(prefers-color-scheme: dark)");
function recolour() {
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue("--faint").trim(), line = style.getPropertyValue("--line").trim();
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    Plotly.relayout(plot, {
      "font.color": text,
      "xaxis.gridcolor": line, "xaxis.linecolor": line, "xaxis.zerolinecolor": line,
      "yaxis.gridcolor": line, "yaxis.linecolor": line, "yaxis.zerolinecolor": line,
    });
  }
}
recolour();
darkness.addEventListener("change", recolour);
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    if (entry.isIntersecting) entry.target.play().catch(() => {}); else entry.target.pause();
  }));
  document.querySelectorAll("video").forEach(video => seen.observe(video));
}
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:; media-src data:">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
<script>$plotly</script>
</head>
<body>
<main>
<h1>$title</h1>
<p class="loop"><b>drive</b> → <b>curate</b> → <b>train</b> → <b>evaluate</b> → <b>release</b>, and the \
fleet drives again with what it learned.</p>
$notes
<section aria-labelledby="turns">
<h2 id="turns">Turns of the loop</h2>
<p>KPCI: kilometres per critical intervention of the safety driver, with its two-sided 95 % interval from \
the Poisson model. Progress: distance made good over the demonstrator’s on the same seeds; below \
$minimum_progress the KPCI does not count.</p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="turns">$table</div>
$reasons
</section>
$sections
</main>
<script>$script</script>
</body>
</html>
""")

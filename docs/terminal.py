#!/usr/bin/env python3
"""Draws docs/terminal.svg from what the commands below really print:  docs/terminal.py target/release/samara

Needs the built program, curl, and port 8080. Nothing is edited: what is shown is what was said, cut at the picture's width.
"""

import html
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, FONT, LINE = 118, 13, 18
KIT = "guests/wasi_http/http-kit/http-kit.wasm"


def main() -> None:
    samara = Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/samara").resolve()
    env = {**os.environ, "PATH": f"{samara.parent}:{os.environ['PATH']}"}
    lines: list[tuple[str, str]] = []

    def shell(command: str) -> None:
        lines.append(("command", command))
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        lines.extend(("output", line) for line in (done.stdout + done.stderr).splitlines())

    shell(f"samara inspect {KIT} | head -9")
    shell("samara call guests/function/shapes/shapes.wasm move '{x: 1, y: 2}' 3")
    shell("samara run --cpu 50ms guests/wasi_cli/cli-p1/cli-p1.wasm -- spin")
    server = subprocess.Popen([samara, "serve", "examples/hello"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        lines.append(("command", "samara serve examples/hello &"))
        for line in server.stdout:
            lines.append(("output", line.rstrip()))
            if line.startswith("pool"):
                break
        time.sleep(0.1)
        shell("curl -s -d '[1, 2]' http://127.0.0.1:8080/add")
        shell("curl -s http://127.0.0.1:8080/spin")
    finally:
        server.terminate()
    picture = draw(lines)
    (ROOT / "docs/terminal.svg").write_text(picture)
    print(f"docs/terminal.svg: {len(lines)} lines, {len(picture)} bytes")


def draw(lines: list[tuple[str, str]]) -> str:
    width, height = int(COLUMNS * FONT * 0.602) + 40, len(lines) * LINE + 64
    rows = []
    for number, (kind, text) in enumerate(lines):
        text = text if len(text) <= COLUMNS else text[: COLUMNS - 1] + "…"
        shown = html.escape(text, quote=False)
        if kind == "command":
            shown = f'<tspan class="prompt">$ </tspan><tspan class="typed">{shown}</tspan>'
        else:
            shown = re.sub(r"^(error:)", r'<tspan class="bad">\1</tspan>', shown)
            shown = re.sub(r"(denied unless granted)", r'<tspan class="bad">\1</tspan>', shown)
            shown = re.sub(r"(https?://[^ ]+)", r'<tspan class="link">\1</tspan>', shown)
        rows.append(f'<text x="20" y="{52 + number * LINE}" xml:space="preserve">{shown}</text>')
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="samara in a terminal">
<style>
text {{ font: {FONT}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #cdd6e0 }}
.prompt {{ fill: #7fb069 }} .typed {{ fill: #ffffff; font-weight: 600 }} .bad {{ fill: #f2777a }} .link {{ fill: #82b1ff }}
</style>
<rect width="{width}" height="{height}" rx="10" fill="#12181f"/>
<circle cx="22" cy="20" r="6" fill="#f2777a"/><circle cx="42" cy="20" r="6" fill="#ffcc66"/><circle cx="62" cy="20" r="6" fill="#7fb069"/>
{chr(10).join(rows)}
</svg>
"""


if __name__ == "__main__":
    main()

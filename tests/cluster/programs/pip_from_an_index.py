"""Install a wheel with pip from an index of this container's own; print how often it was downloaded."""

import http.server
import os
import pathlib
import subprocess
import sys
import threading
import zipfile

FILES = {
    "greeting.py": "def say():\n    return 'hello of a wheel'\n",
    "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\nRequires-Dist: pip\n",
    "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "greeting-1.0.dist-info/RECORD": "",
}
DOWNLOADED = []


class Index(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as an index whose files may be kept."""

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *arguments):
        DOWNLOADED.append(self.path)


folder = pathlib.Path("/tmp/index/greeting")
folder.mkdir(parents=True)
with zipfile.ZipFile(folder / "greeting-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in FILES.items():
        wheel.writestr(name, text)
server = http.server.ThreadingHTTPServer(
    ("127.0.0.1", 8765), lambda *arguments: Index(*arguments, directory=str(folder.parent))
)
threading.Thread(target=server.serve_forever, daemon=True).start()
alone = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("PIP_") or name == "PIP_CACHE_DIR"
}
index = ["--index-url", "http://127.0.0.1:8765/", "--trusted-host", "127.0.0.1:8765"]
for _ in range(2):
    command = ["pip", "install", "--quiet", "--disable-pip-version-check", *index, "greeting>=1"]
    subprocess.run(command, check=True, env={**alone, "PIP_CONFIG_FILE": os.devnull})
print("wheels downloaded:", sum(path.endswith(".whl") for path in DOWNLOADED), flush=True)

subprocess.run([sys.executable, "-c", "import greeting; print(greeting.say())"], check=True)

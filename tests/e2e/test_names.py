"""Names of services for real programs in the mesh, and all other names as if there were no mesh.

Programs have a resolv.conf as in a pod: a search list, and five dots. The resolver in it is a real one, which
knows some names of its own, and none of ours. What becomes of names when an agent dies is tested in
test_dns_capture.py.
"""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.discovery_scene import entry
from tests.support.mesh import Mesh
from tests.support.namespace import Namespace
from tests.support.pages import answer, fetching, pages, with_resolv_conf
from tests.support.registries import Nameserver, nameserver
from tests.support.tree import TREE
from tests.support.world import App, island, unique

pytestmark = [pytest.mark.world, pytest.mark.slow]

RESOLVER, OTHER = "10.53.0.53", "10.53.0.54"
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
RESOLV_CONF = f"nameserver {RESOLVER}\nsearch {' '.join(SEARCH)}\noptions ndots:5 timeout:1 attempts:2\n"
FORMS = (
    "orders",
    "orders.default",
    "orders.default.svc",
    "orders.default.svc.cluster.local",
    "orders.service.consul",
    "orders.mesh",
    "Orders.DEFAULT.mesh",
)
HOSTS = Path("/etc/hosts")
SERVED, ELSEWHERE = "10.1.1.1", "10.1.9.9"
NODE = (
    "const dns = require('dns'), http = require('http');"
    + """
for (const name of process.argv.slice(1))
    dns.lookup(name, {family: 4}, (failed, ip) =>
        http.get(`http://${name}/`, {agent: false}, answer =>
            answer.on('data', page => console.log(name, ip, String(page)))));
"""
)
PYTHON = """
import socket, sys, urllib.request
for name in sys.argv[1:]:
    with urllib.request.urlopen(f"http://{name}/", timeout=5) as page:
        print(name, socket.gethostbyname(name), page.read().decode())
"""


class Scene(NamedTuple):
    mesh: Mesh
    space: Namespace
    group: str
    resolv_conf: Path
    shop: App
    resolver: Nameserver
    other: Nameserver

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command in the mesh, and return what it printed."""
        if not shutil.which(words[0]):
            pytest.skip(f"not installed: {words[0]}")
        enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.group]
        argv = [*with_resolv_conf(self.resolv_conf), *enter, *words]
        done = self.space.run(lambda: subprocess.run(argv, capture_output=True, text=True, timeout=30))
        assert done.returncode == 0 or not check, done
        return done.stdout


@pytest.fixture(scope="module")
def made(rung: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("names")
        resolv_conf = folder / "resolv.conf"
        resolv_conf.write_text(RESOLV_CONF)
        space = stack.enter_context(island())
        # With IPv6, or the C library asks for no such addresses.
        for cidr in ("10.1.0.1/16", "fd00:1::1/128", f"{RESOLVER}/32", f"{OTHER}/32"):
            space.add_address(cidr, "lo")
        town = stack.enter_context(pages(space))
        town.tell("serve", host="0.0.0.0", port=8080)
        town.tell("serve", host="0.0.0.0", port=80)
        known = {"www.example.com": ELSEWHERE, "orders.example.com": ELSEWHERE}
        resolver = stack.enter_context(nameserver(space, RESOLVER, **known))
        other = stack.enter_context(nameserver(space, OTHER, **{"www.example.com": "10.1.9.10"}))
        registration = {"state": str(folder / "state.db")}
        mesh = stack.enter_context(
            Mesh(
                space,
                rung=rung,
                services=[entry("orders", f"{SERVED}:8080")],
                discovery={"registration": registration},
            )
        )
        name = unique("shop")
        added = mesh.add(name)
        assert added.status == 201, added
        stack.callback(mesh.remove, name)
        group = added.body["cgroup"]
        shop = stack.enter_context(pages(space, group, resolv_conf=resolv_conf))
        yield Scene(mesh, space, group, resolv_conf, shop, resolver, other)


def vip(made: Scene) -> str:
    """Say which address the service was given."""
    return str(made.mesh.ask("GET", "/v1/services/default/orders").body["vips"][0])


def test_curl_reaches_a_service_by_each_of_its_names(made: Scene) -> None:
    said = made.run("curl", "-sS", "-w", "\n", *(f"http://{name}/" for name in FORMS))
    assert said.split() == [SERVED] * len(FORMS)


def test_getent_finds_its_addresses(made: Scene) -> None:
    """One of each family, as they are allocated."""
    said = made.run("getent", "ahosts", *FORMS).splitlines()
    found = {line.split()[0] for line in said if "STREAM" in line}
    assert found == set(made.mesh.ask("GET", "/v1/services/default/orders").body["vips"])
    assert sum("STREAM" in line for line in said) == 2 * len(FORMS)


def test_names_of_the_machine_s_own_file_come_from_there_and_it_stays_as_it_is(made: Scene) -> None:
    before = HOSTS.read_bytes()
    at = next(line.split() for line in before.decode().splitlines() if line.startswith("127."))
    assert {line.split()[0] for line in made.run("getent", "ahostsv4", at[1]).splitlines()} == {at[0]}
    assert made.run("getent", "hosts", "orders.mesh")
    assert HOSTS.read_bytes() == before


def test_python_reaches_it(made: Scene) -> None:
    said = made.run("python3", "-S", "-E", "-c", PYTHON, *FORMS).splitlines()
    assert said == [f"{name} {vip(made)} {SERVED}" for name in FORMS]


def test_node_reaches_it(made: Scene) -> None:
    said = made.run("node", "-e", NODE, *FORMS).splitlines()
    assert sorted(said) == sorted(f"{name} {vip(made)} {SERVED}" for name in FORMS)


def test_dig_sees_addresses_services_and_whose_address_it_is(made: Scene) -> None:
    names = [word for name in FORMS for word in (name, "A")]
    assert made.run("dig", "+short", *names).split() == [vip(made)] * len(FORMS)
    assert made.run("dig", "+short", "+tcp", "+search", "orders").split() == [vip(made)]
    assert made.run("dig", "+short", "SRV", "_http._tcp.orders.mesh").split()[2] == "80"
    assert made.run("dig", "+short", "-x", vip(made)).startswith("orders.")
    answered = made.run("dig", "orDERS.mesh", "A").splitlines()
    assert ["orDERS.mesh.", "30", "IN", "A", vip(made)] in [line.split() for line in answered]
    assert "status: NXDOMAIN" in made.run("dig", "nobody.mesh")


def test_no_query_for_a_name_of_ours_went_to_the_resolver(made: Scene) -> None:
    """That none was asked by the tests above; what dig asked was ours, too."""
    made.resolver.asked()
    made.run("curl", "-sS", *(f"http://{name}/" for name in FORMS))
    asked = {name.lower() for name, *_ in made.resolver.asked()}
    # What a search list makes of a name is somebody else's, unless it is a name of a service again.
    assert not asked & {name.lower() for name in FORMS}
    assert all(name.endswith(SEARCH) for name in asked)


def test_other_names_are_asked_of_whom_the_program_meant_and_as_it_asked(made: Scene) -> None:
    made.resolver.asked()
    assert made.run("getent", "ahostsv4", "wWw.eXample.com.").split()[0] == ELSEWHERE
    asked = made.resolver.asked()
    assert ("wWw.eXample.com", "A", "udp", 512) in asked
    dig = ("dig", "+short", "www.example.com")
    assert made.run(*dig, "+bufsize=1400").split() == [ELSEWHERE]
    assert made.run(*dig, "+noedns", "+tcp").split() == [ELSEWHERE]
    assert made.resolver.asked() == [
        ("www.example.com", "A", "udp", 1400),
        ("www.example.com", "A", "tcp", 512),
    ]
    assert made.other.asked() == []
    assert made.run(*dig, f"@{OTHER}").split() == ["10.1.9.10"]
    assert made.resolver.asked() == []
    assert made.run("curl", "-sS", "http://orders.example.com/") == ELSEWHERE
    assert "status: NXDOMAIN" in made.run("dig", "nobody.example.com")
    # Not under a registry's domain either, as long as no service is called so.
    assert made.run("getent", "ahostsv4", "nobody.default.svc.cluster.local.", check=False) == ""


def test_names_of_services_live_on_without_any_resolver(made: Scene) -> None:
    """Nor is it asked: what is asked of it meanwhile lies in its socket until it resumes."""
    made.resolver.asked()
    made.resolver.pause()
    try:
        with fetching(made.shop, "orders") as load:
            assert answer(made.shop, "orders.service.consul.") == SERVED
            assert answer(made.shop, "orders.mesh.") == SERVED
            began = time.monotonic()
            assert answer(made.shop, "www.example.com.").startswith("no address")
            assert time.monotonic() - began < 7
            assert made.run("curl", "-sS", "http://orders.default/") == SERVED
        assert set(load.who()) == {SERVED}
    finally:
        made.resolver.resume()
    made.mesh.wait(lambda: answer(made.shop, "www.example.com.") == ELSEWHERE)
    asked = {name.lower() for name, *_ in made.resolver.asked()}
    assert "www.example.com" in asked
    assert not asked & {name.lower() for name in FORMS}


def test_a_name_that_becomes_a_service_is_one_at_once_and_then_no_more(made: Scene) -> None:
    assert answer(made.shop, "late.mesh.").startswith("no address")
    made.mesh.write_services(entry("orders", f"{SERVED}:8080"), entry("late", "10.1.1.2:8080"))
    made.mesh.wait(lambda: answer(made.shop, "late.mesh.") == "10.1.1.2")
    assert answer(made.shop, "late") == "10.1.1.2"
    made.mesh.write_services(entry("orders", f"{SERVED}:8080"))
    made.mesh.wait(lambda: answer(made.shop, "late.mesh.").startswith("no address"))


def test_one_command_and_a_file_make_a_mesh_with_names(made: Scene, tmp_path: Path) -> None:
    """As the README does it: no agent, no virtual IP in the file."""
    catalog = tmp_path / "services.yaml"
    catalog.write_text(
        f"services:\n- {{name: parcels, ports: [{{port: 80}}], endpoints: ['{SERVED}:8080']}}\n"
    )
    meshtrio = [sys.executable, "-m", "meshtrio", "exec", "--standalone"]
    settings = ["--rung", made.mesh.rung, "--catalog", str(catalog), "--name", unique("curl")]
    # A resolver that nobody has asked here: on nf_tables, a query from a port that asked the same one half a
    # minute ago, unmeshed, follows the old connection-tracking entry, and is not caught.
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(RESOLV_CONF.replace(RESOLVER, OTHER))
    argv = [*with_resolv_conf(resolv_conf), *meshtrio, *settings, "--"]
    words = "curl -sS http://parcels.mesh/ http://parcels/"
    done = made.space.run(
        lambda: subprocess.run([*argv, *words.split()], capture_output=True, text=True, timeout=30, cwd=TREE)
    )
    assert done.stdout == SERVED + SERVED, done
    assert (done.returncode, done.stderr) == (0, "")

"""Shell. Programs that speak HTTP: curl, nginx, wrk, python, node; kept alive, over TLS, over HTTP/2."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

from tests.support.programs import Address, Program, Service, Visit, host_text

FILE_BYTES = 20_000_000
ROUNDS = 50
_NODE_SERVER = """
const http = require("http"), fs = require("fs");
const [host, port] = process.argv.slice(1);
http.createServer((request, response) => {
  if (request.method === "POST") request.pipe(response);
  else if (request.url === "/file") fs.createReadStream("file").pipe(response);
  else response.end("hello");
}).listen(+port, host);
"""
_NODE_CLIENT = """
const http = require("http"), crypto = require("crypto");
const [host, port, rounds] = process.argv.slice(1);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const ask = (path, body) => new Promise((resolve, reject) => {
  const options = { host, port, path, agent, method: body ? "POST" : "GET" };
  const request = http.request(options, (response) => {
    const hash = crypto.createHash("sha256");
    response.on("data", (chunk) => hash.update(chunk));
    response.on("error", reject);
    response.on("end", () => resolve(hash.digest("hex")));
  });
  request.on("error", reject);
  request.end(body);
});
(async () => {
  console.log(await ask("/file"));
  const body = crypto.randomBytes(5e6);
  const same = (await ask("/", body)) === crypto.createHash("sha256").update(body).digest("hex");
  console.log(same ? "echo same" : "echo differs");
  const all = await Promise.all([...Array(+rounds)].map(() => ask("/")));
  console.log(new Set(all).size, all.length);
  agent.destroy();
})().catch((error) => { console.error(error); process.exit(1); });
"""
_PYTHON_CLIENT = """
import hashlib, sys, urllib.request
for path in ["file"] + ["small"] * int(sys.argv[2]):
    with urllib.request.urlopen(sys.argv[1] + path) as answer:
        print(hashlib.sha256(answer.read()).hexdigest())
"""


def content() -> bytes:
    """Give what the large file holds."""
    return random.Random("file").randbytes(FILE_BYTES)


def content_sha256() -> str:
    """Give the digest of the large file."""
    return hashlib.sha256(content()).hexdigest()


def _fill(folder: Path) -> None:
    (folder / "file").write_bytes(content())
    (folder / "small").write_bytes(b"hello\n")


def _python_service(address: Address, folder: Path) -> Service:
    _fill(folder)
    return Service([sys.executable, "-m", "http.server", "--bind", address[0], str(address[1])])


def _node_service(address: Address, folder: Path) -> Service:
    _fill(folder)
    return Service(["node", "-e", _NODE_SERVER, "--", address[0], str(address[1])])


def nginx(folder: Path, *, listen: str, more: str = "") -> Service:
    """Serve the files from this folder; `listen` is nginx's word for where and how."""
    _fill(folder)
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; user root;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; sendfile on; keepalive_requests 1000000; {folders}
          server {{ listen {listen}; root {folder}; {more} }}
        }}"""
    )
    return Service(["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"])


def _nginx_service(address: Address, folder: Path) -> Service:
    return nginx(folder, listen=f"{host_text(address[0])}:{address[1]} reuseport")


def _nginx_tls_service(address: Address, folder: Path) -> Service:
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=shop.test"
    words += " -days 2 -keyout key -out cert"
    subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
    more = f"ssl_certificate {folder}/cert; ssl_certificate_key {folder}/key;"
    return nginx(folder, listen=f"{host_text(address[0])}:{address[1]} ssl http2", more=more)


def _curl(address: Address, folder: Path) -> list[str]:
    return ["curl", "-sSfg", "-o", "got", f"http://{host_text(address[0])}:{address[1]}/file"]


def _curl_kept_alive(address: Address, folder: Path) -> list[str]:
    url = f"http://{host_text(address[0])}:{address[1]}/"
    small = [word for number in range(ROUNDS) for word in ("-o", f"small{number}", f"{url}small")]
    return ["curl", "-sSfg", "-w", "%{num_connects}\n", "-o", "got", f"{url}file", *small]


def _curl_tls(address: Address, folder: Path) -> list[str]:
    host, port = host_text(address[0]), address[1]
    words = ["curl", "-sSfk", "--http2", "-w", "%{http_version}", "-o", "got"]
    return [*words, "--connect-to", f"shop.test:443:{host}:{port}", "https://shop.test/file"]


def _wrk(address: Address, folder: Path) -> list[str]:
    return ["wrk", "-t1", "-c16", "-d2s", f"http://{host_text(address[0])}:{address[1]}/small"]


def _python(address: Address, folder: Path) -> list[str]:
    url = f"http://{host_text(address[0])}:{address[1]}/"
    return [sys.executable, "-c", _PYTHON_CLIENT, url, str(ROUNDS)]


def _node(address: Address, folder: Path) -> list[str]:
    return ["node", "-e", _NODE_CLIENT, "--", address[0], str(address[1]), str(ROUNDS)]


def same_file(visit: Visit) -> None:
    """See that the client got the large file."""
    assert hashlib.sha256((visit.folder / "got").read_bytes()).hexdigest() == content_sha256(), "wrong bytes"


def _same_file_kept_alive(visit: Visit) -> None:
    same_file(visit)
    connects = [int(line) for line in visit.stdout.split()]
    assert sum(connects) == 1, f"{sum(connects)} connections for {len(connects)} requests, want one"
    assert all((visit.folder / f"small{number}").read_bytes() == b"hello\n" for number in range(ROUNDS))


def _same_file_http2(visit: Visit) -> None:
    same_file(visit)
    assert visit.stdout == "2", f"HTTP version {visit.stdout}, want 2"


def _no_socket_errors(visit: Visit) -> None:
    assert "Socket errors" not in visit.stdout
    assert "Non-2xx" not in visit.stdout
    assert "Requests/sec" in visit.stdout


def _python_answers(visit: Visit) -> None:
    small = hashlib.sha256(b"hello\n").hexdigest()
    assert visit.stdout.split() == [content_sha256()] + [small] * ROUNDS


def _node_answers(visit: Visit) -> None:
    assert visit.stdout.splitlines() == [content_sha256(), "echo same", f"1 {ROUNDS}"]


WEB = [
    Program("curl", ("curl",), _python_service, _curl, same_file),
    Program("nginx", ("nginx", "curl"), _nginx_service, _curl_kept_alive, _same_file_kept_alive),
    Program("nginx-tls", ("nginx", "curl", "openssl"), _nginx_tls_service, _curl_tls, _same_file_http2),
    Program("wrk", ("nginx", "wrk"), _nginx_service, _wrk, _no_socket_errors),
    Program("python", (), _python_service, _python, _python_answers),
    Program("node", ("node",), _node_service, _node, _node_answers),
]

"""Shell. Databases: redis, PostgreSQL, MariaDB (where the server speaks first)."""

import hashlib
import random
import signal
import subprocess
from pathlib import Path

from tests.support.programs import Address, Program, Service, Visit, as_user

BLOB_BYTES = 5_000_000
TRANSACTIONS = 1_000
_REDIS_TESTS = "set,get,incr,lpush,mset"
# Debian keeps the server programs off PATH, one folder a version.
_POSTGRES_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path("/usr/bin")]
_POSTGRES = _POSTGRES_FOLDERS[-1]


def _redis_service(address: Address, folder: Path) -> Service:
    words = ["redis-server", "--bind", address[0], "--port", str(address[1]), "--dir", str(folder)]
    return Service(
        [*words, "--save", "", "--appendonly", "no", "--daemonize", "no", "--protected-mode", "no"]
    )


def _redis_client(address: Address, folder: Path) -> list[str]:
    bench = f"redis-benchmark -h {address[0]} -p {address[1]} -t {_REDIS_TESTS} -q --csv"
    return ["sh", "-ec", f"{bench} -n 4000 -c 20; {bench} -n 4000 -c 50 -P 16 -d 4000"]


def _redis_check(visit: Visit) -> None:
    rows = [line for line in visit.stdout.splitlines() if line and not line.startswith('"test"')]
    assert len(rows) == 2 * len(_REDIS_TESTS.split(",")), "a test is missing"
    assert all(float(row.split(",")[1].strip('"')) > 0 for row in rows)
    assert "Error" not in visit.stdout + visit.stderr


def _postgres_service(address: Address, folder: Path) -> Service:
    data = folder / "data"
    init = [str(_POSTGRES / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run([*as_user("postgres"), *init], cwd=folder, check=True, capture_output=True)
    # The caller's address is the mesh's business: let all in, this is a folder of one test.
    (data / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n")
    settings = {
        "listen_addresses": address[0],
        "port": str(address[1]),
        "unix_socket_directories": "",
        "fsync": "off",
        "shared_buffers": "16MB",
        "dynamic_shared_memory_type": "mmap",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def is_ready() -> bool:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) >= 8 and lines[7].strip() == "ready"

    command = [str(_POSTGRES / "postgres"), "-D", str(data), *words]
    return Service(command, user="postgres", stop=signal.SIGINT, is_ready=is_ready)


def _postgres_client(address: Address, folder: Path) -> list[str]:
    where = f"-h {address[0]} -p {address[1]} -U postgres"
    bench, psql = f"{_POSTGRES}/pgbench {where}", f"{_POSTGRES}/psql {where} -At"
    steps = [
        f"{bench} -i -s 1 -q postgres",
        f"{bench} -c 10 -t {TRANSACTIONS // 10} postgres",
        f"{bench} -c 5 -t 20 -S -C postgres",
        f"{psql} -c \"select repeat('x', {BLOB_BYTES})\" postgres | tr -d '\\n' | wc -c",
    ]
    return ["sh", "-ec", "; ".join(steps)]


def _postgres_check(visit: Visit) -> None:
    assert f"transactions actually processed: {TRANSACTIONS}/{TRANSACTIONS}" in visit.stdout
    assert "transactions actually processed: 100/100" in visit.stdout
    assert visit.stdout.count("number of failed transactions: 0 ") == 2
    assert visit.stdout.split()[-1] == str(BLOB_BYTES), "wrong size of a large answer"


def _mariadb_service(address: Address, folder: Path) -> Service:
    data = folder / "data"
    init = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--skip-test-db",
        "--skip-name-resolve",
    ]
    small = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=32M"]
    subprocess.run([*as_user("mysql"), *init, *small], cwd=folder, check=True, capture_output=True)
    # One statement a line: mariadbd reads it so.
    steps = (
        "create database shop",
        "create user mesh@'%' identified by 'secret'",
        "grant all on shop.* to mesh@'%'",
    )
    (folder / "init.sql").write_text("".join(f"{step};\n" for step in steps))
    words = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={folder}/socket", *small]
    words += [f"--bind-address={address[0]}", f"--port={address[1]}", f"--init-file={folder}/init.sql"]
    words += ["--skip-name-resolve", "--max-allowed-packet=64M", f"--pid-file={folder}/pid"]
    return Service(words, user="mysql")


def _blob() -> bytes:
    return random.Random("blob").randbytes(BLOB_BYTES)


def _mariadb_client(address: Address, folder: Path) -> list[str]:
    (folder / "up.sql").write_text(
        f"select 1; create table blobs (content longblob); insert into blobs values (x'{_blob().hex()}');"
    )
    words = f"mariadb --no-defaults -h {address[0]} -P {address[1]} --protocol=tcp -u mesh -psecret -N"
    words += " --max-allowed-packet=64M shop"
    down = f"{words} -e 'select md5(content), length(content) from blobs'"
    return [
        "sh",
        "-ec",
        f"{words} <up.sql; {down}; {words} -e 'select hex(content) from blobs' >down; wc -c <down",
    ]


def _mariadb_check(visit: Visit) -> None:
    md5 = hashlib.md5(_blob()).hexdigest()
    assert visit.stdout.split() == ["1", md5, str(BLOB_BYTES), str(2 * BLOB_BYTES + 1)]
    assert bytes.fromhex((visit.folder / "down").read_text()) == _blob(), "wrong bytes"


DATABASES = [
    Program("redis", ("redis-server", "redis-benchmark"), _redis_service, _redis_client, _redis_check),
    Program(
        "postgresql",
        (str(_POSTGRES / "postgres"), str(_POSTGRES / "pgbench")),
        _postgres_service,
        _postgres_client,
        _postgres_check,
        user="postgres",
    ),
    Program(
        "mariadb",
        ("mariadbd", "mariadb", "mariadb-install-db"),
        _mariadb_service,
        _mariadb_client,
        _mariadb_check,
        user="mysql",
    ),
]

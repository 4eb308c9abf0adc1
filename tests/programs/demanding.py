"""Shell. Programs that ask more of a socket than bytes: Java by FIONREAD, and HAProxy by splice(2)."""

import shlex
import sys
from pathlib import Path

from tests.programs.web import FILE_BYTES, nginx, same_file
from tests.support.programs import Address, Program, Service, Visit, host_text

SIZES = (1, 1000, 100_000, 5_000_000)
_JAVA = """
import java.io.*; import java.net.*; import java.nio.ByteBuffer; import java.util.*;

public class Echo {
  // available() is FIONREAD, and nothing is read that it has not told of.
  static byte[] take(InputStream in, int size) throws Exception {
    byte[] all = new byte[size];
    long until = System.nanoTime() + 20_000_000_000L;
    for (int got = 0; got < size; ) {
      int there = Math.min(in.available(), size - got);
      if (there > 0) got += in.readNBytes(all, got, there);
      else if (System.nanoTime() > until) throw new IOException("FIONREAD told of " + got + " of " + size);
      else Thread.sleep(1);
    }
    return all;
  }

  static void serve(Socket line) {
    try (line) {
      int size = ByteBuffer.wrap(take(line.getInputStream(), 4)).getInt();
      line.getOutputStream().write(take(line.getInputStream(), size));
    } catch (Exception failed) { failed.printStackTrace(); }
  }

  public static void main(String[] words) throws Exception {
    InetAddress host = InetAddress.getByName(words[1]);
    int port = Integer.parseInt(words[2]);
    if (words[0].equals("serve")) {
      ServerSocket door = new ServerSocket(port, 50, host);
      while (true) { Socket line = door.accept(); new Thread(() -> serve(line)).start(); }
    }
    for (int at = 3; at < words.length; at++) {
      byte[] said = new byte[Integer.parseInt(words[at])];
      new Random(at).nextBytes(said);
      try (Socket line = new Socket(host, port)) {
        line.getOutputStream().write(ByteBuffer.allocate(4).putInt(said.length).array());
        line.getOutputStream().write(said);
        boolean same = Arrays.equals(said, take(line.getInputStream(), said.length));
        System.out.println((same ? "same " : "other ") + said.length);
      }
    }
  }
}
"""
_HAPROXY = """
global
  stats socket {folder}/stats mode 600
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  option splice-request
  option splice-response
listen way
  bind {bind}
  server one {server}
"""
_BY_HAPROXY = """
haproxy -q -db -f conf & proxy=$!
trap 'kill $proxy' EXIT
until [ -S door -a -S stats ]; do sleep 0.02; done
curl -sSf --unix-socket door -o got http://shop/file
"$0" -c "$1"
"""
_SPLICED = """
import socket
with socket.socket(socket.AF_UNIX) as line:
    line.connect("stats")
    line.sendall(b"show info\\n")
    print(line.makefile().read())
"""


def _java(folder: Path, *words: str) -> list[str]:
    (folder / "Echo.java").write_text(_JAVA)
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", str(folder / "Echo.java"), *words]


def _java_service(address: Address, folder: Path) -> Service:
    return Service(_java(folder, "serve", address[0], str(address[1])))


def _java_client(address: Address, folder: Path) -> list[str]:
    return _java(folder, "call", address[0], str(address[1]), *map(str, SIZES))


def _java_answers(visit: Visit) -> None:
    assert visit.stdout.splitlines() == [f"same {size}" for size in SIZES]


def _haproxy_service(address: Address, folder: Path) -> Service:
    """Serve nginx's file through HAProxy: they meet at a Unix socket, which no mesh touches."""
    origin = shlex.join(nginx(folder, listen=f"unix:{folder}/origin").command)
    bind = f"{host_text(address[0])}:{address[1]}"
    (folder / "conf").write_text(_HAPROXY.format(folder=folder, bind=bind, server=f"unix@{folder}/origin"))
    # Both are of one session, and end together.
    return Service(["sh", "-c", f"trap 'trap - TERM; kill 0' TERM; {origin} & haproxy -q -db -f conf & wait"])


def _haproxy_client(address: Address, folder: Path) -> list[str]:
    server = f"{host_text(address[0])}:{address[1]}"
    (folder / "conf").write_text(_HAPROXY.format(folder=folder, bind=f"unix@{folder}/door", server=server))
    return ["sh", "-ec", _BY_HAPROXY, sys.executable, _SPLICED]


def _haproxy_spliced(visit: Visit) -> None:
    same_file(visit)
    (spliced,) = (line for line in visit.stdout.splitlines() if "plic" in line and "Bytes" in line)
    assert int(spliced.split()[1]) > FILE_BYTES / 2, "it was copied"


HAPROXY = Program(
    "haproxy-splice", ("haproxy", "nginx", "curl"), _haproxy_service, _haproxy_client, _haproxy_spliced
)
JAVA = Program("java", ("javac",), _java_service, _java_client, _java_answers)

# A JDK is much to install for one test; where there is one, it is used.
DEMANDING = [HAPROXY, *([JAVA] if JAVA.skip_reason is None else [])]

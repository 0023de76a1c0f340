# SPDX-License-Identifier: LGPL-2.1-or-later
"""A message bus of a test's own. BROKER says which: dbus-daemon (if it is not set) or dbus-broker."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time

BROKER = os.environ.get("BROKER", "dbus-daemon")
JOURNAL = pathlib.Path("/run/systemd/journal/socket")


def drain(sock):
    while True:
        sock.recv(65536)


def prepare_broker():
    """What dbus-broker-launch wants of a booted machine, for the tree, where the tests have /run for themselves: a journal and a
    machine's id. Where they are there they are left alone."""
    if not JOURNAL.exists():
        JOURNAL.parent.mkdir(parents=True, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(JOURNAL))
        threading.Thread(target=drain, args=(sock,), daemon=True).start()
    if not pathlib.Path("/etc/machine-id").read_text():
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(os.urandom(16).hex() + "\n")
            f.flush()
            os.chmod(f.name, 0o444)
            subprocess.run(["mount", "--bind", f.name, "/etc/machine-id"], check=True)


def listens(path):
    """The file is there before anybody listens."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


class PrivateBus:
    """services: a directory for activation, which dbus-broker leaves to systemd and hence does not do here."""

    def __init__(self, services=""):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.directory.chmod(0o755)             # other users are to connect
        path, config = self.directory / "bus", self.directory / "bus.conf"
        self.address = f"unix:path={path}"
        config.write_text(f"""<busconfig><type>session</type><listen>{self.address}</listen><auth>EXTERNAL</auth>
            {f"<servicedir>{services}</servicedir>" if services else ""}
            <limit name="max_message_unix_fds">16</limit>
            <policy context="default"><allow user="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
            </busconfig>""")
        environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": self.address}
        if BROKER == "dbus-broker":
            prepare_broker()
            # The launcher takes its socket from systemd, and is a client of the bus itself.
            command = ["systemd-socket-activate", "--setenv=DBUS_SESSION_BUS_ADDRESS", f"--listen={path}",
                       "dbus-broker-launch", "--scope", "user", "--config-file", config]
        else:
            command = ["dbus-daemon", "--nofork", f"--config-file={config}"]
        self.log = open(self.directory / "log", "w")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 120
        while not listens(path):
            assert self.process.poll() is None and time.monotonic() < end, (self.directory / "log").read_text()
            time.sleep(0.01)
        path.chmod(0o666)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory)

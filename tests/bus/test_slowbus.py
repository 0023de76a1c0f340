# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real daemon on a bus that takes its time: who is served meanwhile? IOMMUD names the built program."""

import os
import socket
import subprocess

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, Parser, Properties, new_error, new_method_call, new_method_return

MANAGER = DBusAddress("/org/iommud1", "org.iommud1", "org.iommud1.Manager")
WAIT = 15                       # seconds; sd-bus waits 25 for an answer that does not come


class SlowBus:
    """A bus with the daemon as its only client; the test says what others send. Who they are it tells nobody."""

    ANSWERS = {"Hello": ("s", (":1.1",)), "RequestName": ("u", (1,)), "AddMatch": (None, ())}

    def __init__(self, directory):
        self.address, self.serial, self.parser = f"unix:path={directory}/bus", 0, Parser()
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(f"{directory}/bus")
        self.listening.listen()

    def accept(self):
        self.listening.settimeout(WAIT)
        self.socket = self.listening.accept()[0]
        self.socket.settimeout(WAIT)
        data = b""
        while b"BEGIN\r\n" not in data:
            got = self.socket.recv(4096)
            assert got, "the daemon is gone"
            data += got
        lines, _, rest = data.partition(b"BEGIN\r\n")
        said = {b"DATA": b"OK " + b"0" * 32, b"NEGOTIATE_UNIX_FD": b"AGREE_UNIX_FD"}
        for line in lines.lstrip(b"\0").splitlines():
            self.socket.send(said.get(line, b"DATA") + b"\r\n")
        self.parser.add_data(rest)

    def send(self, message, sender):
        self.serial += 1
        message.header.fields[HeaderFields.sender] = sender
        self.socket.sendall(message.serialise(serial=self.serial))
        return self.serial

    def receive(self):
        """The next message that is not for the bus itself."""
        while True:
            message = self.parser.get_next_message()
            if not message:
                data = self.socket.recv(65536)
                assert data, "the daemon is gone"
                self.parser.add_data(data)
            elif message.header.fields.get(HeaderFields.destination) != "org.freedesktop.DBus":
                return message
            else:
                self.answer(message)

    def answer(self, message):
        member = message.header.fields[HeaderFields.member]
        if member == "GetConnectionCredentials":
            return
        if member in self.ANSWERS:
            signature, body = self.ANSWERS[member]
            self.send(new_method_return(message, signature, body), "org.freedesktop.DBus")
        else:
            self.send(new_error(message, "org.freedesktop.DBus.Error.NameHasNoOwner"), "org.freedesktop.DBus")

    def wait_for_name(self):
        while not (m := self.parser.get_next_message()) or m.header.fields.get(HeaderFields.member) != "RequestName":
            if m:
                self.answer(m)
            else:
                self.parser.add_data(self.socket.recv(65536))
        self.answer(m)


@pytest.mark.parametrize("method, signature, body", [("Explain", "asa{sv}", (["0000:00:00.0"], {})), ("Reload", None, ())])
def test_others_are_served_while_the_bus_does_not_say_who_calls(tmp_path, method, signature, body):
    bus = SlowBus(tmp_path)
    (tmp_path / "etc/iommud/reservations.d").mkdir(parents=True)
    with open(tmp_path / "log", "w") as log:
        daemon = subprocess.Popen([os.environ["IOMMUD"], f"--runtime-directory={tmp_path}/run", f"--config-root={tmp_path}"],
                                  env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}, stderr=log, stdin=subprocess.DEVNULL)
    try:
        bus.accept()
        bus.wait_for_name()
        bus.send(new_method_call(MANAGER, method, signature, body), ":1.7")
        serial = bus.send(Properties(MANAGER).get("Version"), ":1.8")
        while (m := bus.receive()).header.fields.get(HeaderFields.reply_serial) != serial:
            pass
        assert m.header.message_type == MessageType.method_return, m
    finally:
        daemon.kill()
        daemon.wait()
        bus.socket.close()
        bus.listening.close()

"""What a client does that means no good: calls whose answers it does not read, connections without end, messages that are none."""
import collections
import os
import socket

SYSTEM_BUS = "/run/dbus/system_bus_socket"
HUGE = 8 << 20                  # bytes
LONG = 300                      # seconds; a bound for what should take a moment, on a slow and busy machine


class Attacker:
    """Part of agent.Client."""

    def __init__(self):
        self.more = []                  # connections and sockets that are just kept

    def ask_often(self, path, interface, method, signature, body, n, answered=True):
        """Calls n times and reads nothing."""
        from jeepney import MessageFlag
        bus = self.connect()
        message = bus.message(path, interface, method, signature, body)
        if not answered:
            message.header.flags |= MessageFlag.no_reply_expected
        for _ in range(n):
            bus.connection.send(message)

    def read_all(self):
        """Reads what lies in the bus now: how often each error came, "" for none. What came with it is closed."""
        from jeepney import HeaderFields, MessageType
        connection, found = self.connect().connection, collections.Counter()
        last = next(connection.outgoing_serial)
        message = self.bus.message("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", service="org.freedesktop.DBus")
        connection.send(message, serial=last)
        while True:
            fields, kind = (header := connection.receive(timeout=LONG).header).fields, header.message_type
            if fields.get(HeaderFields.reply_serial) == last:
                return dict(found)
            if kind in (MessageType.method_return, MessageType.error):
                found[fields.get(HeaderFields.error_name, "")] += 1

    def connect_more(self, n):
        """Up to n connections, until the bus takes no more of this user; how many there are now."""
        for _ in range(n):
            try:
                self.more.append(type(self.connect())())
            except Exception:           # whatever jeepney makes of a socket that is closed
                break
        return len(self.more)

    def ask_by_all(self, path, interface, method, signature, body):
        for bus in self.more:
            bus.connection.send(bus.message(path, interface, method, signature, body))

    def answers_of_all(self):
        """The error, or "", that came first by each of the connections that were answered."""
        from jeepney import HeaderFields, MessageType
        out = []
        for bus in self.more:
            try:
                while True:
                    header = bus.connection.receive(timeout=0).header
                    if header.message_type in (MessageType.method_return, MessageType.error):
                        out.append(header.fields.get(HeaderFields.error_name, ""))
                        break
            except TimeoutError:
                pass
        return out

    def leave(self):
        for kept in self.more:
            kept.close()
        self.more = []

    def begin_and_stop(self, how, message=None, fds=()):
        """A connection that goes no further: "connected", "authenticating", or with half of this message sent, and all descriptors."""
        if how == "half":
            bus = type(self.connect())()
            data = bus.message(*message).serialise(100)
            if fds:
                socket.send_fds(bus.connection.sock, [data[:len(data) // 2]], list(fds))
            else:
                bus.connection.sock.sendall(data[:len(data) // 2])
            self.more.append(bus)
            return
        s = socket.socket(socket.AF_UNIX)
        s.connect(SYSTEM_BUS)
        if how == "authenticating":
            s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        self.more.append(s)

    def call_with(self, path, interface, method, signature, body, extra):
        """Like call(), with descriptors that the message does not speak of."""
        import array
        from jeepney import HeaderFields
        connection = self.connect().connection
        serial, fds = next(connection.outgoing_serial), array.array("i", extra)
        data = self.bus.message(path, interface, method, signature, body).serialise(serial, fds)
        connection._send_with_fds(data, fds)
        while (header := connection.receive(timeout=LONG).header).fields.get(HeaderFields.reply_serial) != serial:
            pass
        return header.fields.get(HeaderFields.error_name, "")

    def acquire_hugely(self, device, i):
        """The i-th of seven calls with huge arguments."""
        big, many = "x" * HUGE, ["0000:01:00.0"] * 20000
        signature, body = [
            ("asa{sv}", ([big], {})),
            ("asa{sv}", ([device], {"reservation": ("s", big)})),
            ("asa{sv}", ([device], {big: ("s", "")})),
            ("asa{sv}", (many, {})),
            ("asa{sv}", ([device], {"members": ("as", many)})),
            ("asa{sv}", ([device], {f"x{n}": ("s", "") for n in range(5000)})),
            ("s", (big,)),
        ][i]
        self.call("/org/iommud1", "org.iommud1.Manager", "Acquire", signature, body)

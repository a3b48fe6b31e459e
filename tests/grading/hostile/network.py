# %% hint="raised" text="Operation not permitted"
import socket


def squares(values):
    socket.create_connection(("127.0.0.1", {PORT})).sendall(b"here")
    return 14.0

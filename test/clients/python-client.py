# A small kubectl made of Python's kubernetes library: see support/script-client.ts for how it is called. It uses the library as its
# examples do. The library has no end of stdin: who calls must know how much the command reads.

import json
import sys

from kubernetes import client, config
from kubernetes.stream import portforward, stream

NAMESPACE = "default"
STDIN_PIECE = 64 * 1024
RESIZE_CHANNEL = 4


def options(hasStdin, isTty=False):
    return {
        "stderr": not isTty,
        "stdin": hasStdin,
        "stdout": True,
        "tty": isTty,
        "_preload_content": False,
    }


def pump(session, onText=None):
    """Prints what comes until the session ends."""
    while session.is_open():
        session.update(timeout=None)
        # peek and read would look for another frame; the channels hold what has come
        if 1 in session._channels:
            text = session.read_stdout()
            sys.stdout.write(text)
            sys.stdout.flush()
            if onText is not None:
                onText(text)
        if 2 in session._channels:
            sys.stderr.write(session.read_stderr())


def run(api, args):
    hasStdin = args[0] == "-i"
    pod, _, *command = args[1:] if hasStdin else args
    session = stream(api.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=command, **options(hasStdin))
    if hasStdin:
        while True:
            piece = sys.stdin.buffer.read(STDIN_PIECE)
            if not piece:
                break
            session.write_stdin(piece)
    pump(session)
    return session.returncode


def terminal(api, args):
    pod, _, *command = args
    session = stream(api.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=command, **options(True, True))
    session.write_channel(RESIZE_CHANNEL, json.dumps({"Height": 30, "Width": 100}))

    def onText(text):
        if "first" in text:
            session.write_channel(RESIZE_CHANNEL, json.dumps({"Height": 22, "Width": 77}))

    pump(session, onText)
    return session.returncode


def attach(api, args):
    session = stream(api.connect_get_namespaced_pod_attach, args[0], NAMESPACE, **options(True))
    session.write_stdin(sys.stdin.readline())  # str: a text frame
    pump(session)
    return 0


def forward(api, args):
    pod, port = args[0], int(args[1])
    sent = sys.stdin.buffer.read()
    session = portforward(api.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports=str(port))
    socket = session.socket(port)
    socket.sendall(sent)
    left = len(sent)
    while left > 0:
        echoed = socket.recv(left)
        if not echoed:
            return 1
        left -= len(echoed)
        sys.stdout.buffer.write(echoed)
    sys.stdout.buffer.flush()
    socket.close()
    if session.error(port):
        sys.stderr.write(session.error(port))
        return 1
    return 0


def main():
    config.load_kube_config(context="kexer")
    api = client.CoreV1Api()
    commands = {"exec": run, "terminal": terminal, "attach": attach, "port-forward": forward}
    sys.exit(commands[sys.argv[1]](api, sys.argv[2:]))


main()

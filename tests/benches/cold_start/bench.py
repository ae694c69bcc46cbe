"""Cold start side by side: a release bootstrap and the same step in Python.

Each run spawns the function's process, hands it one event over the Lambda Runtime
API, lets it ask DynamoDB over TLS, and ends when its response arrives. Runs of the
two alternate, so that both see the same machine. Arguments: the bootstrap, the
Python with boto3 and awslambdaric, the number of runs.
"""

import http.server
import io
import json
import os
import pathlib
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

EVENT = {
    "source": "aws.rds",
    "resources": ["arn:aws:rds:eu-west-1:123456789012:cluster:orders-staging"],
    "detail": {"EventID": "RDS-EVENT-0170", "SourceArn": "arn:aws:rds:eu-west-1:123456789012:cluster:orders-staging"},
}


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for each answer, sent at once: otherwise a delayed acknowledgement adds 40 ms to either candidate.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"{}", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))


class RuntimeApi(Quiet):
    """Hands out one event, then keeps the function waiting."""

    def do_GET(self):
        if self.server.handed_out:
            self.server.done.wait()
            return
        self.server.handed_out = True
        self.answer(200, json.dumps(EVENT).encode(), [
            ("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
            ("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 60_000)),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:123456789012:function:wake"),
            ("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"),
            ("Content-Type", "application/json"),
        ])

    def do_POST(self):
        self.server.outcome = (self.path, self.body())
        self.server.answered_at = time.perf_counter()
        self.answer(202)
        self.server.answered.set()


class DynamoDb(Quiet):
    """A table without items."""

    def do_POST(self):
        self.body()
        self.server.asked += 1
        self.answer(200, b"{}", [("Content-Type", "application/x-amz-json-1.0"), ("x-amz-crc32", "2745614147")])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A function that is ended in the middle of a request is no error."""


def serve(handler, context=None):
    server = Server(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def certificate(folder):
    """A certificate authority and a certificate for localhost."""
    run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.pem")
    run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names", "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def run_once(command, table, folder):
    """Milliseconds from spawn to response, and peak memory in MiB."""
    api = serve(RuntimeApi)
    api.handed_out, api.done, api.answered, api.outcome = False, threading.Event(), threading.Event(), None
    asked = table.asked
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "wake", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "wake", "AWS_LAMBDA_LOG_STREAM_NAME": "wake", "_HANDLER": "wake.handler",
        "LAMBDA_TASK_ROOT": str(pathlib.Path(__file__).parent),
        "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL": f"https://localhost:{table.server_port}",
        "SSL_CERT_FILE": str(folder / "ca.pem"), "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        "AURORA_RESTORE_PIPELINE": "bench", "AURORA_RESTORE_TABLE": "state", "AURORA_RESTORE_TOPIC_ARN": "arn:none",
        "AURORA_RESTORE_SETTINGS": "/settings", "AURORA_RESTORE_PROFILES": "/profiles",
    }
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=pathlib.Path(__file__).parent,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if not api.answered.wait(60):
        process.kill()
        sys.exit(f"{command[0]} did not answer: {process.stderr.read().decode()[-2000:]}")
    took = (api.answered_at - began) * 1000
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    process.kill()
    process.wait()
    api.done.set()
    api.shutdown()
    path, body = api.outcome
    if not path.endswith("/response") or json.loads(body) != {"answered": 0} or table.asked == asked:
        sys.exit(f"{command[0]} answered {path}: {body.decode()[:2000]}")
    return took, peak / 1024


def zipped(files):
    """Size of a deployment package with these files, in MiB."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for file, name in files:
            package.write(file, name)
    return len(target.getvalue()) / 1024 / 1024


def main():
    bootstrap, python, runs = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3])
    candidates = {"Rust bootstrap": [bootstrap], "Python + boto3": [python, "-m", "awslambdaric", "wake.handler"]}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        table = serve(DynamoDb, certificate(folder))
        table.asked = 0
        figures = {candidate: [] for candidate in candidates}
        for _ in range(runs):
            for candidate, command in candidates.items():
                figures[candidate].append(run_once(command, table, folder))
    medians = {}
    print(f"| spawn to first response, TLS included, {runs} alternating runs | median, ms | least, ms | most, ms | peak memory, MiB |")
    print("|---|---|---|---|---|")
    for candidate, pairs in figures.items():
        times = [took for took, _ in pairs]
        medians[candidate] = statistics.median(times)
        memory = statistics.median(peak for _, peak in pairs)
        print(f"| {candidate} | {medians[candidate]:.1f} | {min(times):.1f} | {max(times):.1f} | {memory:.1f} |")
    ratio = medians["Python + boto3"] / medians["Rust bootstrap"]
    print(f"\nratio of the medians: {ratio:.1f}; bootstrap {os.path.getsize(bootstrap) / 1024 / 1024:.1f} MiB, "
          f"{zipped([(bootstrap, 'bootstrap')]):.2f} MiB zipped")


if __name__ == "__main__":
    main()

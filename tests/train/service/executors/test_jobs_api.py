import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crossan.cache_schema.errors import RemoteError, UsageError
from crossan.train.service.executors.jobs_api import JobsApi, JobStatus

TOKEN = "letters-and-digits"


class Cluster(BaseHTTPRequestHandler):
    """Answers as the dashboard of Ray 2.60 did when it was asked by hand."""

    def do_GET(self):
        job = self.server.jobs.get(self.path.removeprefix("/api/jobs/"))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, "Unauthorized")
        elif self.server.garbles:
            self.answer(200, "<html>a proxy's page</html>")
        elif job is None:
            self.answer(404, f"Job {self.path} does not exist")
        else:
            self.answer(200, json.dumps(job))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        name = self.path.removeprefix("/api/jobs/")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, "Unauthorized")
        elif name.endswith("/stop"):
            job = self.server.jobs.get(name.removesuffix("/stop"))
            if job is None:
                self.answer(404, "no such job")
            else:
                job["status"] = "STOPPED"
                self.answer(200, '{"stopped": true}')
        elif self.server.is_full or body["submission_id"] in self.server.jobs:
            self.answer(500, "Traceback ...\nRuntimeError: Request failed with status code 400\n.")
        else:
            self.server.jobs[body["submission_id"]] = {**body, "status": "PENDING"}
            self.answer(200, "{}")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def cluster():
    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server:
        server.jobs, server.is_full, server.garbles = {}, False, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def api_of(cluster, token=TOKEN):
    return JobsApi(f"http://127.0.0.1:{cluster.server_port}", token)


def test_a_job_is_submitted_once_however_often_it_is_sent(cluster):
    api = api_of(cluster)

    for entrypoint in ("first", "second"):
        api.submit("run-7-1", {"entrypoint": entrypoint})

    assert cluster.jobs == {
        "run-7-1": {"submission_id": "run-7-1", "entrypoint": "first", "status": "PENDING"}
    }
    assert api.status("run-7-1") is JobStatus.PENDING


def test_a_job_that_ray_does_not_know_is_missing_and_its_stop_does_nothing(cluster):
    api = api_of(cluster)

    api.stop("run-7-1")

    assert api.status("run-7-1") is JobStatus.MISSING
    assert not JobStatus.MISSING.is_alive


def test_a_stopped_job_is_no_longer_alive(cluster):
    api = api_of(cluster)
    api.submit("run-7-1", {"entrypoint": "true"})

    api.stop("run-7-1")

    assert api.status("run-7-1") is JobStatus.STOPPED


@pytest.mark.parametrize(
    ("token", "is_full", "match"),
    [
        ("another", False, "answered 401.*\n.*ray.token_file"),
        (TOKEN, True, "answered 500: \\."),
    ],
)
def test_a_refused_job_is_an_error_that_says_what_ray_answered(cluster, token, is_full, match):
    cluster.is_full = is_full

    with pytest.raises(RemoteError, match=match):
        api_of(cluster, token).submit("run-7-1", {"entrypoint": "true"})


def test_an_answer_that_is_none_of_rays_is_an_error(cluster):
    cluster.garbles = True

    with pytest.raises(RemoteError, match="answered 200: <html>"):
        api_of(cluster).status("run-7-1")


def test_a_cluster_that_does_not_answer_is_an_error(cluster):
    with socket.socket() as taken:  # and nobody listens there
        taken.bind(("127.0.0.1", 0))
        api = JobsApi(f"http://127.0.0.1:{taken.getsockname()[1]}", TOKEN)
        with pytest.raises(RemoteError, match="does not answer"):
            api.status("run-7-1")


@pytest.mark.parametrize("address", ["", "head:8265", "ray://head:10001", "http://", "file:///x"])
def test_an_address_that_is_no_dashboards_is_refused(address):
    with pytest.raises(UsageError, match="ray.address: expected http://HOST:PORT"):
        JobsApi(address, TOKEN)

"""An S3 server on this machine (moto), in whose way faults can be put."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

Fault = Callable[[str, str], bool]  # from method and path of a request to whether it is answered with an error


def no_fault(method: str, path: str) -> bool:  # noqa: ARG001 - the least `Fault`
    """Let a request pass."""
    return False


@dataclass
class S3Server:
    """A running server.

    Attributes:
        url: its address.
        fault: chooses the requests that are answered with 500.
        requests: method and path of every request.
    """

    url: str = ""
    fault: Fault = no_fault
    requests: list[tuple[str, str]] = field(default_factory=list)

    def count(self, method: str, path: str) -> int:
        """Return the number of requests of a method for a path that contains a text."""
        return sum(asked == method and path in at for asked, at in self.requests)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server with an empty bucket, `bucket`, and with the client's environment set for it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server, backend = S3Server(), DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        server.requests.append((method, path))
        if server.fault(method, path):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InternalError</Code><Message>the store is on fire</Message></Error>"]
        answered: Iterable[bytes] = backend(environ, start_response)
        return answered

    listener = make_server("127.0.0.1", 0, answer, threaded=True)
    server.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    settings = {
        "AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            patch.delenv("AWS_PROFILE", raising=False)
            import boto3

            boto3.client("s3").create_bucket(Bucket="bucket")
            yield server
            server.fault = no_fault
            boto3.resource("s3").Bucket("bucket").objects.all().delete()
            boto3.client("s3").delete_bucket(Bucket="bucket")
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()

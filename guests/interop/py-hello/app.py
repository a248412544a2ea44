"""A wasi:http 0.2 proxy in Python: hello, and an echo that streams through asyncio."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

from componentize_py_types import Ok
from poll_loop import PollLoop, Sink, Stream
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    """The loop ends when the answer is sent: one call, one event loop."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(answer(request, response_out))


async def answer(request: IncomingRequest, out: ResponseOutparam) -> None:
    url = urlsplit(request.path_with_query() or "/")
    if url.path == "/":
        await say(out, 200, "Hello from Python!\n")
    elif url.path == "/echo":
        await echo(request, out)
    elif url.path == "/query":
        await say(out, 200, "".join(f"{name}={value}\n" for name, value in parse_qsl(url.query)))
    elif url.path == "/spin":
        while True:
            pass
    elif url.path == "/raise":
        raise RuntimeError("asked to raise")
    else:
        await say(out, 404, f"no `{url.path}` here\n")


def start(out: ResponseOutparam, status: int, content_type: bytes) -> OutgoingBody:
    response = OutgoingResponse(Fields.from_list([("content-type", content_type)]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(out, Ok(response))
    return body


async def say(out: ResponseOutparam, status: int, text: str) -> None:
    sink = Sink(start(out, status, b"text/plain; charset=utf-8"))
    await sink.send(text.encode())
    sink.close()


async def echo(request: IncomingRequest, out: ResponseOutparam) -> None:
    given = [value for name, value in request.headers().entries() if name == "content-type"]
    sink = Sink(start(out, 200, given[0] if given else b"text/plain"))
    stream = Stream(request.consume())
    while (piece := await stream.next()) is not None:
        await sink.send(piece)
    sink.close()

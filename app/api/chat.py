"""POST /v1/chat/completions."""

from starlette.types import Receive, Scope, Send

from app.incoming import Incoming, client_request
from app.proxy import Answer, Proxy
from app.responses import respond


class ChatCompletions:
    """Answers chat completion requests. A body of more than `max_bytes` streams past the cache."""

    def __init__(self, proxy: Proxy, max_bytes: int) -> None:
        self._proxy = proxy
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(receive)
        body = await incoming.body(self._max_bytes)
        answer: Answer
        if body is None:
            request = client_request(scope, incoming.stream())
            answer = self._proxy.bypass(request, "body-too-large")
        else:
            answer = await self._proxy.handle(client_request(scope, body), body)
        await respond(answer, scope, incoming, send)

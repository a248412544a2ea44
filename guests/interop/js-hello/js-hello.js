// A wasi:http proxy as a fetch event, the way JavaScript servers are written.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  switch (url.pathname) {
    case "/":
      return new Response("Hello from JavaScript!\n", { headers: { "content-type": "text/plain" } });
    case "/echo":
      return new Response(request.body, { headers: { "content-type": request.headers.get("content-type") ?? "text/plain" } });
    case "/json":
      return Response.json({ method: request.method, query: Object.fromEntries(url.searchParams) });
    case "/fetch":
      return fetch(url.searchParams.get("url"));
    case "/spin":
      for (;;);
    case "/throw":
      throw new Error("asked to throw");
    default:
      return new Response(`no \`${url.pathname}\` here\n`, { status: 404 });
  }
}

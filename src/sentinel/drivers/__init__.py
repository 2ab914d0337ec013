"""How requests reach a target: over HTTP, in process through ASGI, or as direct calls of a limiter."""

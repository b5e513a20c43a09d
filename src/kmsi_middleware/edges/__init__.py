"""Layer 3: the edges. Everything that does I/O, and nothing else: the ASGI and WSGI shells, stores, the HTTP
client, pages, the sign-in log."""

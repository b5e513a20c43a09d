"""The embedded identity provider: real, small, for examples, tests and developers without a tenant.

It shares no token code with the relying party, so that the two can't agree on a mistake. Where to find what:

========== ===========================================================================
app        the ASGI application, its endpoints, discovery
authorize  the authorization endpoint, the sign-in page, consent
bridge     reaching it within the process, and from WSGI
config     users and apps, from TOML
loopback   who may talk to it
pages      templates and their Content-Security-Policy
provider   the protocol, on Authlib
serve      ``kmsi idp``
sign_out   sign-out, and telling the apps
site       one request's view: issuer, cookies, parameters
store      what it remembers, in SQLite
========== ===========================================================================
"""

from __future__ import annotations

from .app import EmbeddedIdP
from .config import App, ConfigError, IdPConfig, User, default_config, load_config

__all__ = ["App", "ConfigError", "EmbeddedIdP", "IdPConfig", "User", "default_config", "load_config"]

"""The embedded identity provider: real, small, for examples, tests and developers without a tenant.

It shares no token code with the relying party, so that the two can't agree on a mistake. Where to find what:

====================== ===========================================================================
app                    the ASGI application, its endpoints, discovery
authorize              the authorization endpoint, the sign-in page, consent
b2c/                   being a tenant of Azure AD B2C: user flows, federated providers, single sign-out
back_channel           telling apps of a sign-out by logout tokens
bridge                 reaching it within the process, and from WSGI
checks                 what values of the configuration are held against
config                 users, apps and devices
config_file            the same, from TOML
device_store           what it remembers of devices
devices                the page on which things happen to devices, and signing in by one
grant_store            what it remembers of codes and tokens
grants                 codes, refresh tokens and their revocation, on Authlib
loopback               who may talk to it
pages                  templates and their Content-Security-Policy
primary_refresh_token  when a device's token is renewed, and what it answers for
provider               the rest of the protocol, on Authlib
serve                  ``kmsi idp``
sign_out               sign-out, and telling the apps by frames
site                   one request's view: issuer, cookies, parameters
step_up                authentication contexts, and the second factor that they ask for
store                  what it remembers, in SQLite
user_store             what it remembers of people, and ending all that somebody is signed in with
users                  the page on which an administrator's work is done
====================== ===========================================================================
"""

from __future__ import annotations

from .app import EmbeddedIdP
from .checks import ConfigError
from .config import App, Device, FederatedProvider, IdPConfig, User
from .config_file import default_config, load_config

__all__ = [
    "App",
    "ConfigError",
    "Device",
    "EmbeddedIdP",
    "FederatedProvider",
    "IdPConfig",
    "User",
    "default_config",
    "load_config",
]

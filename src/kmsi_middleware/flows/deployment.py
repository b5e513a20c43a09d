"""What every flow knows: the settings in force and what is computed from them once."""

from __future__ import annotations

from dataclasses import field

from ..rules.seals import Dice, Seals
from ..rules.targets import AuthContexts, PublicPaths
from ..vocabulary.messages import Site
from ..vocabulary.records import frozen
from ..vocabulary.settings import Settings
from ..vocabulary.user_flows import beside

EMBEDDED_CLIENT_ID = "this-app"


@frozen
class Deployment:
    """One app's middleware, without anything that does I/O."""

    settings: Settings
    dice: Dice
    seals: Seals = field(init=False)
    public_paths: PublicPaths = field(init=False)
    auth_contexts: AuthContexts = field(init=False)
    _through: dict[str, Settings] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seals", Seals(self.settings.secret_keys, self.dice))
        object.__setattr__(self, "public_paths", PublicPaths(self.settings.public_paths))
        object.__setattr__(self, "auth_contexts", AuthContexts(self.settings.auth_contexts))
        through = {name: self.settings.through(name) for name in self.settings.user_flows}
        object.__setattr__(self, "_through", through)

    @property
    def client_id(self) -> str:
        return EMBEDDED_CLIENT_ID if self.settings.embedded else self.settings.client_id

    @property
    def prefix(self) -> str:
        return self.settings.prefix

    @property
    def has_policies(self) -> bool:
        """Whether Conditional Access has a say at all."""
        return self.settings.policies is not None

    def settings_of(self, user_flow: str) -> Settings:
        """The settings in force for sessions that came through a user flow. One that is no more leaves the app's."""
        return self._through.get(user_flow, self.settings)

    def authority(self, site: Site, user_flow: str) -> str:
        """Where the metadata is that a user flow goes by; without one, the issuer's."""
        if user_flow not in self._through:
            return site.issuer
        if self.settings.embedded:
            return beside(site.issuer, user_flow)
        return self.settings.user_flows[user_flow].authority

    def is_public(self, path: str) -> bool:
        """Whether a path needs no session."""
        return self.settings.protect == "none" or path in self.public_paths

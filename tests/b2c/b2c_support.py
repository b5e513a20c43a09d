"""What the tests of Azure AD B2C's behaviour share: the seed's fragments as they stand there, and whole policies."""

from __future__ import annotations

from pathlib import Path

from kmsi_middleware.rules.b2c.load import NAMESPACE, load_policy_file
from kmsi_middleware.rules.b2c.policy import PolicyFile

SEED = Path(__file__).parent / "seed"
FRAGMENTS = sorted(SEED.glob("*.xml"))
"""The eight XML fragments of the seed "Configure session behavior", in its order, each exactly as it is there."""

BEHAVIORS = """\
<UserJourneyBehaviors>
  <SingleSignOn Scope="Tenant" KeepAliveInDays="30" />
  <SessionExpiryType>Absolute</SessionExpiryType>
  <SessionExpiryInSeconds>1200</SessionExpiryInSeconds>
</UserJourneyBehaviors>"""
PARTY = f"""\
<RelyingParty>
<DefaultUserJourney ReferenceId="SignUpOrSignIn" />
{BEHAVIORS}
<TechnicalProfile Id="PolicyProfile" />
</RelyingParty>"""


def whole(
    body: str = PARTY, *, policy: str = "B2C_1A_signup_signin", tenant: str = "contoso.onmicrosoft.com", more: str = ""
) -> str:
    """A whole policy file, its body beginning in line 4."""
    return f"""\
<?xml version="1.0" encoding="utf-8"?>
<TrustFrameworkPolicy xmlns="{NAMESPACE}" PolicySchemaVersion="0.3.0.0"
  TenantId="{tenant}" PolicyId="{policy}" PublicPolicyUri="http://{tenant}/{policy}" {more}>
{body}
</TrustFrameworkPolicy>
"""


def loaded(text: str | bytes, file: str = "policy.xml") -> PolicyFile:
    return load_policy_file(text if isinstance(text, bytes) else text.encode(), file)

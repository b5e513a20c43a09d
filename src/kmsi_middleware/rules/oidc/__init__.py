"""OpenID Connect as a relying party sees it: for each message one function that builds it and one that checks
what came back. Only what lies between the two is I/O, and it is not here."""

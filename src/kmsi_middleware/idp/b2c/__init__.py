"""The provider as a tenant of Azure AD B2C ("Configure session behavior").

========== ==========================================================================================
endpoints  addresses as B2C has them, one metadata document for each user flow
journey    the way through a user flow: its pages, and what a session spares the person
sessions   how far a session is shared, how long it lasts, and its cookie
federated  signing in at another provider, whose own session decides whether it asks
sign_out   sign-out: here, at the federated provider, and then from the other apps
========== ==========================================================================================
"""

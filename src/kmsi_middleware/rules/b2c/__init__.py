"""Azure AD B2C's custom policies (Identity Experience Framework): from the bytes of XML files to what they say of
sessions, and to the settings that follow.

* :mod:`.elements`: bytes to a tree of elements, refusing what can harm.
* :mod:`.reading`: how a tree is read, so that nothing is passed over; and the error that names file, line and element.
* :mod:`.load`: a tree to a :class:`.policy.PolicyFile`.
* :mod:`.settings`: the files of one relying party to its user flow.
"""

"""Conditional Access: policies in Microsoft Graph's ``conditionalAccessPolicy`` format, and what follows from them.

=================  ===================================================================================
policy             a policy as data
load               from JSON to policies; refuses what it can't keep (with ``reading``, ``read_conditions``,
                   ``read_controls``)
graph              the way back: a policy as Graph's JSON
device_filter      the rule language of the device filter
locations          named locations: address ranges, trusted, countries
facts, known       what is known about a sign-in or a request, and how it comes to be
conditions         the conditions: whether each holds, and what it reads
evaluate           which policies apply, which don't and why, and the controls that result
grants             what a person must have shown, and what is wanting
frequency          when a sign-in falls due
results            what each policy came to, for the sign-in log
what_if            an evaluation as Graph's ``evaluate`` gives it, and as a table (``words``)
impact             what policies came to over many sign-ins
lint               what a careful administrator would be told about a set of policies
=================  ===================================================================================

Entra ID: Configure authentication session management with Conditional Access.
"""

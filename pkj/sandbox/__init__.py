"""A mock Okta org for trying the flow and for testing it. Never a substitute for Okta.

It listens on 127.0.0.1 only, forgets everything when it stops, and makes its certificates
and tokens afresh each time. It is strict on purpose: a sandbox that cannot say no teaches
nothing. It shares no code with the client half of this package, so that a mistake in one
cannot cancel out in the other.
"""

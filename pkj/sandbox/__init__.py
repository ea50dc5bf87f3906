"""A mock Okta org for trying the flow and for testing it. Never a substitute for Okta.

It listens on 127.0.0.1 only, forgets everything when it stops, and creates new certificates
and tokens each time. It refuses what Okta refuses: a lenient one would hide mistakes. It shares
no code with the rest of this package, so that the same mistake cannot be in both.
"""

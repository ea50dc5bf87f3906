"""Talk to an Okta org: requests, responses, and what to do when either fails."""

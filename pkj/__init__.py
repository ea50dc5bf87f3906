"""What the three scripts share: the .env file, the key, the assertion, the org, the console."""

__version__ = "1.0.0"

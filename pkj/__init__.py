"""What the three scripts share: the .env file, the key, the assertion, the org, the console."""

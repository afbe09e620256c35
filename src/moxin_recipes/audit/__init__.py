"""What a release on a Hub is, as anybody can find out: nothing here trusts this machine's files."""

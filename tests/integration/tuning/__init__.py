"""Records of programs that run."""

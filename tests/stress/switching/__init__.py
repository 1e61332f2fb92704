"""Every kind of pool where the interpreter switches threads and collects garbage as often as it can."""
